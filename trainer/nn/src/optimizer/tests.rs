use proptest::prelude::*;

use super::*;
use crate::layer::{Layer, Shape};

pub(crate) const ADAM: Optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };

fn model() -> Model {
    let shape = Shape { height: 3, width: 3, channels: 2 };
    let norm = Layer::BatchNorm { momentum: 0.99, epsilon: 1e-3 };
    let layers =
        [Layer::Conv2D { filters: 3, kernel_size: 3 }, norm, Layer::Flatten, Layer::Dense { units: 2 }];
    Model::new(shape, 2, &layers).unwrap()
}

/// A leaf with zeros in the gaps, as the engine gives it.
fn reduced(model: &Model, mut value: impl FnMut(usize) -> f32) -> Vec<f32> {
    let mut vector = vec![0.0; model.reduction_len()];
    for tensor in model.parameters() {
        tensor.range().for_each(|index| vector[index] = value(index));
    }
    for tensor in model.running_statistics() {
        tensor.range().for_each(|index| vector[model.parameter_len() + index] = value(index).abs());
    }
    *vector.last_mut().unwrap() = value(0).abs();
    vector
}

/// The same rules in f64, one value at a time, with a plain product for the powers.
struct Reference {
    parameter: f64,
    first: f64,
    second: f64,
}

impl Reference {
    fn step(&mut self, optimizer: &Optimizer, rate: f64, gradient: f64, step: i32) {
        match *optimizer {
            Optimizer::Adam { beta1, beta2, epsilon } => {
                self.first = beta1 * self.first + (1.0 - beta1) * gradient;
                self.second = beta2 * self.second + (1.0 - beta2) * gradient * gradient;
                let first = self.first / (1.0 - beta1.powi(step));
                let second = self.second / (1.0 - beta2.powi(step));
                self.parameter -= rate * first / (second.sqrt() + epsilon);
            }
            Optimizer::Sgd { momentum, nesterov, weight_decay } => {
                let gradient = gradient + weight_decay * self.parameter;
                self.first = momentum * self.first + gradient;
                self.parameter -= rate * if nesterov { gradient + momentum * self.first } else { self.first };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// 20 steps; the tolerance is f32's rounding (2^-24) of a few operations a step, over the sums of 20 steps.
    #[test]
    fn steps_follow_the_formulas_in_f64(
        optimizer in prop_oneof![
            Just(ADAM),
            (0.0..0.99, 0.9..0.9999).prop_map(|(beta1, beta2)| Optimizer::Adam { beta1, beta2, epsilon: 1e-7 }),
            (prop_oneof![Just(0.0), 0.0..0.99], any::<bool>(), 0.0..0.1).prop_map(
                |(momentum, nesterov, weight_decay)| Optimizer::Sgd { momentum, nesterov, weight_decay }
            ),
        ],
        leaves in 1_u32..9,
        seed in any::<u64>(),
    ) {
        let model = model();
        let mut state = State::new(&model, &optimizer, model.initial_weights(seed));
        let mut references: Vec<_> = state.weights.parameters.iter()
            .map(|&parameter| Reference { parameter: f64::from(parameter), first: 0.0, second: 0.0 }).collect();
        let mut running: Vec<_> = state.weights.running.iter().map(|&value| f64::from(value)).collect();
        let mut stream = lockstep_rng::Stream::new(seed, lockstep_rng::Domain::Dropout, 0, 0);
        for step in 1..=20 {
            let vector = reduced(&model, |_| stream.uniform_f32(-3.0, 3.0));
            let summary = apply(&model, &optimizer, 0.01, &mut state, &vector, leaves).unwrap();
            let mean = 1.0 / f64::from(leaves);
            let loss = f64::from(*vector.last().unwrap()) * mean;
            prop_assert!((f64::from(summary.loss) - loss).abs() < 1e-6);
            for (reference, &gradient) in references.iter_mut().zip(&vector) {
                reference.step(&optimizer, 0.01, f64::from(gradient) * mean, step);
            }
            for (running, &statistic) in running.iter_mut().zip(&vector[model.parameter_len()..]) {
                *running = 0.99 * *running + (1.0 - 0.99) * f64::from(statistic) * mean;
            }
        }
        prop_assert_eq!(state.step, 20);
        for tensor in model.parameters() {
            for index in tensor.range() {
                let (ours, reference) = (f64::from(state.weights.parameters[index]), references[index].parameter);
                prop_assert!((ours - reference).abs() < 2e-5, "{}: {ours} {reference}", tensor.name);
            }
        }
        for tensor in model.running_statistics() {
            for index in tensor.range() {
                prop_assert!((f64::from(state.weights.running[index]) - running[index]).abs() < 2e-6);
            }
        }
    }
}

/// Padding belongs to no hash of weights, but to the state's: it must stay zero on every executor.
#[test]
fn padding_stays_zero() {
    let model = model();
    let decay = Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 };
    for optimizer in [ADAM, decay] {
        let mut state = State::new(&model, &optimizer, model.initial_weights(1));
        for _ in 0..3 {
            apply(&model, &optimizer, 0.1, &mut state, &reduced(&model, |_| 1.0), 3).unwrap();
        }
        let mut inside = vec![false; model.parameter_len()];
        model.parameters().iter().for_each(|tensor| inside[tensor.range()].fill(true));
        for (index, _) in inside.iter().enumerate().filter(|(_, inside)| !**inside) {
            assert_eq!(state.weights.parameters[index].to_bits(), 0);
            assert!(
                state.moments.iter().all(|moment| moment.get(index).is_none_or(|value| value.to_bits() == 0))
            );
        }
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_and_leaves_the_state_untouched() {
    let model = model();
    let mut state = State::new(&model, &ADAM, model.initial_weights(1));
    apply(&model, &ADAM, 0.1, &mut state, &reduced(&model, |_| 1.0), 1).unwrap();
    let hash = state.hash();
    let bias = model.parameters()[1].offset;
    let variance = model.parameter_len() + model.running_statistics()[1].offset;
    let loss = model.reduction_len() - 1;
    let cases = [
        (bias, "the gradient of 0.bias"),
        (variance, "the batch statistic for 1.running_var"),
        (loss, "the loss"),
    ];
    for (place, expected) in cases {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut vector = reduced(&model, |_| 1.0);
            vector[place] = bad;
            match apply(&model, &ADAM, 0.1, &mut state, &vector, 2) {
                Err(Error::Diverged { step: 2, what }) => assert_eq!(what, expected),
                other => panic!("{other:?}"),
            }
            assert_eq!(state.hash(), hash);
        }
    }
}

#[test]
fn buffers_of_another_model_are_refused() {
    let model = model();
    let sgd = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let vector = reduced(&model, |_| 1.0);
    let mut state = State::new(&model, &sgd, model.initial_weights(1));
    for (optimizer, vector, leaves) in [(sgd, &vector[1..], 1), (sgd, &vector[..], 0), (ADAM, &vector[..], 1)]
    {
        let result = apply(&model, &optimizer, 0.1, &mut state, vector, leaves);
        assert!(matches!(result, Err(Error::WrongLength { step: 1, .. })), "{result:?}");
    }
    assert_eq!(state.step, 0);
}

/// Adam's exact bits are part of every job's result, on every CPU.
#[test]
fn adams_bits_are_pinned() {
    let model = model();
    let mut state = State::new(&model, &ADAM, model.initial_weights(5));
    for step in 0..10 {
        let vector = reduced(&model, |index| ((index * 37 + step * 11) % 101) as f32 / 50.0 - 1.0);
        apply(&model, &ADAM, 1e-3, &mut state, &vector, 3).unwrap();
    }
    let hex: String = state.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "80c5864348fd7dce7618f20487a504af6efe233cabf92fedba58ee8efd171416");
}

#[test]
fn powers_are_the_plain_products() {
    for exponent in 0..2000 {
        let plain = 0.999_f64.powi(exponent);
        assert!((power(0.999, exponent as u64) / plain - 1.0).abs() < 1e-12);
    }
    assert_eq!(power(0.9, u64::MAX), 0.0);
}
