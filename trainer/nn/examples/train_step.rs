//! Times whole train steps (forward, backward, Adam, running statistics) of the `TwoBlock` model on one engine thread
//! with the native kernels.
//!
//! usage: train_step MICRO_BATCH STEPS [avx512|avx2|portable]
//! Prints one line of JSON: the milliseconds of every step after ten steps of warm-up. With `LOCKSTEP_PROFILE=1` also the
//! mean time of each kind of pass, on standard error.
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use lockstep_kernels::Isa;
use lockstep_nn::native::Native;
use lockstep_nn::{Engine, EngineOptions, Model, Optimizer, Shape, State, Task, TaskKind, apply, two_block};

const WARM_UP: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (numbers, isa) = arguments.split_at(arguments.len().min(2));
    let [micro_batch, steps] = numbers else {
        return Err("usage: train_step MICRO_BATCH STEPS [avx512|avx2|portable]".into());
    };
    let (micro_batch, steps): (usize, usize) = (micro_batch.parse()?, steps.parse()?);
    let isa = isa.first().map_or(Ok(Isa::best()), |name| name.parse())?;
    let shape = Shape { height: 32, width: 32, channels: 3 };
    let model = Arc::new(Model::new(shape, 10, &two_block(10))?);
    let options = EngineOptions { seed: 42, label_smoothing: 0.0 };
    let backend = Arc::new(Native::new(isa));
    let engine = Engine::new(backend, Arc::clone(&model), NonZeroUsize::MIN, options)?;
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let mut state = State::new(&model, &optimizer, model.initial_weights(42));
    let mut stream = lockstep_rng::Stream::new(7, lockstep_rng::Domain::Augmentation, 0, 0);
    let pixels: Vec<u8> = (0..micro_batch * shape.values()).map(|_| stream.next_u32() as u8).collect();
    let labels: Vec<u32> = (0..micro_batch).map(|_| stream.below(10) as u32).collect();

    let mut milliseconds = Vec::new();
    let mut updates = 0.0;
    let mut leaf = Vec::new();
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        let (sender, result) = mpsc::channel();
        engine.submit(Task {
            kind: TaskKind::Train { step: state.step },
            weights: Arc::clone(&state.weights),
            position: 0,
            pixels: pixels.clone(),
            labels: labels.clone(),
            answer: Box::new(move |part| drop(sender.send(part))),
        });
        let upper = result.recv()??;
        let lower = if upper.is_last() { None } else { Some(result.recv()??) };
        leaf.clear();
        leaf.extend(lower.iter().flat_map(|part| &part.vector));
        leaf.extend_from_slice(&upper.vector);
        let computed = Instant::now();
        apply(&model, &optimizer, 1e-3, &mut state, &leaf, 1)?;
        engine.recycle(upper.vector);
        lower.into_iter().for_each(|part| engine.recycle(part.vector));
        if step >= WARM_UP {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            updates += computed.elapsed().as_secs_f64() * 1e3;
        }
    }
    drop(engine);
    eprintln!("{:7.3} ms  updates", updates / steps.max(1) as f64);
    println!("{{\"milliseconds\": {milliseconds:?}}}");
    Ok(())
}
