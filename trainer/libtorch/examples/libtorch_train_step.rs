//! Times whole train steps (forward, backward, Adam, running statistics) of the `TwoBlock` model on one engine thread.
//!
//! usage: libtorch_train_step MICRO_BATCH STEPS
//! Prints one line of JSON: the milliseconds of every step after ten steps of warm-up. `make bench` runs it in turns
//! with PyTorch's.
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use lockstep_libtorch::LibTorch;
use lockstep_nn::{Engine, EngineOptions, Model, Optimizer, Shape, State, Task, TaskKind, apply, two_block};

const WARM_UP: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    lockstep_libtorch::pin_single_threaded();
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [micro_batch, steps] = arguments[..] else {
        return Err("usage: libtorch_train_step MICRO_BATCH STEPS".into());
    };
    let shape = Shape { height: 32, width: 32, channels: 3 };
    let model = Arc::new(Model::new(shape, 10, &two_block(10))?);
    let options = EngineOptions { seed: 42, label_smoothing: 0.0 };
    let engine = Engine::new(Arc::new(LibTorch), Arc::clone(&model), NonZeroUsize::MIN, options)?;
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let mut state = State::new(&model, &optimizer, model.initial_weights(42));
    let mut stream = lockstep_rng::Stream::new(7, lockstep_rng::Domain::Augmentation, 0, 0);
    let pixels: Vec<u8> = (0..micro_batch * shape.values()).map(|_| stream.next_u32() as u8).collect();
    let labels: Vec<u32> = (0..micro_batch).map(|_| stream.below(10) as u32).collect();

    let mut milliseconds = Vec::new();
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
        let mut leaf = if upper.is_last() { Vec::new() } else { result.recv()??.vector };
        leaf.extend_from_slice(&upper.vector);
        apply(&model, &optimizer, 1e-3, &mut state, &leaf, 1)?;
        engine.recycle(upper.vector);
        engine.recycle(leaf);
        if step >= WARM_UP {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("{}", serde_json::json!({"milliseconds": milliseconds}));
    Ok(())
}
