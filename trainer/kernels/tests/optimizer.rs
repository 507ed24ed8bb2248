//! Updates have the bits of one plain sequence of operations, with every instruction set, for any length.

use lockstep_kernels::Isa;
use lockstep_kernels::optimizer::{Adam, Sgd, all_finite};
use proptest::prelude::*;

fn buffer(len: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        8 => -2.0_f32..2.0,
        1 => any::<f32>().prop_filter("finite", |value| value.is_finite()),
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(1e-42), Just(f32::MAX)],
    ];
    prop::collection::vec(value, len)
}

fn buffers() -> impl Strategy<Value = [Vec<f32>; 4]> {
    (0_usize..100).prop_flat_map(|len| [buffer(len), buffer(len), buffer(len), buffer(len)])
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }).collect()
}

proptest! {
    #[test]
    fn adam_is_its_formula_one_element_at_a_time([parameters, first, second, gradients] in buffers()) {
        let rule = Adam {
            mean: 1.0 / 3.0, beta1: 0.9, one_minus_beta1: 0.1, beta2: 0.999, one_minus_beta2: 0.001,
            rate: 0.01, root_correction: 1.5, epsilon: 1e-7,
        };
        let mut expected = [parameters.clone(), first.clone(), second.clone()];
        for (index, &gradient) in gradients.iter().enumerate() {
            let g = gradient * rule.mean;
            let m = expected[1][index] * rule.beta1 + g * rule.one_minus_beta1;
            let v = expected[2][index] * rule.beta2 + g * g * rule.one_minus_beta2;
            expected[1][index] = m;
            expected[2][index] = v;
            expected[0][index] -= rule.rate * m / (v.sqrt() * rule.root_correction + rule.epsilon);
        }
        for isa in Isa::available() {
            let mut found = [parameters.clone(), first.clone(), second.clone()];
            let [p, m, v] = &mut found;
            rule.update(isa, p, m, v, &gradients);
            prop_assert_eq!(found.each_ref().map(|b| bits(b)), expected.each_ref().map(|b| bits(b)), "{}", isa);
        }
    }

    #[test]
    fn sgd_is_its_formula_one_element_at_a_time(
        [parameters, velocity, gradients, _] in buffers(), nesterov: bool, with_momentum: bool,
    ) {
        let rule = Sgd { mean: 1.0 / 3.0, momentum: 0.9, weight_decay: 0.01, learning_rate: 0.1, nesterov };
        let velocity = if with_momentum { velocity } else { Vec::new() };
        let mut expected = [parameters.clone(), velocity.clone()];
        for (index, &gradient) in gradients.iter().enumerate() {
            let g = gradient * rule.mean + expected[0][index] * rule.weight_decay;
            let ahead = match expected[1].get_mut(index) {
                None => g,
                Some(velocity) => {
                    *velocity = *velocity * rule.momentum + g;
                    if nesterov { g + *velocity * rule.momentum } else { *velocity }
                }
            };
            expected[0][index] -= rule.learning_rate * ahead;
        }
        for isa in Isa::available() {
            let mut found = [parameters.clone(), velocity.clone()];
            let [p, v] = &mut found;
            rule.update(isa, p, v, &gradients);
            prop_assert_eq!(found.each_ref().map(|b| bits(b)), expected.each_ref().map(|b| bits(b)), "{}", isa);
        }
    }

    #[test]
    fn one_value_that_is_not_finite_is_found_anywhere(
        len in 1_usize..10_000, place: prop::sample::Index,
        bad in prop_oneof![Just(f32::NAN), Just(-f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
    ) {
        let mut values = vec![f32::MAX; len];
        for isa in Isa::available() {
            prop_assert!(all_finite(isa, &values));
        }
        values[place.index(len)] = bad;
        for isa in Isa::available() {
            prop_assert!(!all_finite(isa, &values), "{}", isa);
        }
    }
}
