//! Dense layers, flattening, dropout and ReLU backward: the same bits from every instruction set, near the definition
//! in f64, and nothing written that is not theirs.

use lockstep_kernels::dense::{Dense, relu_backward};
use lockstep_kernels::dropout::Dropout;
use lockstep_kernels::flatten::Flatten;
use lockstep_kernels::{Isa, padded};
use proptest::prelude::*;

/// Written into everything a kernel must leave alone.
const GUARD: f32 = -77.0;
const GUARDS: usize = 16;

/// Values in [-1, 1), a function of the seed.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Rows of `len` values, zeros in the padding.
fn rows(seed: u64, rows: usize, len: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for row in values(seed, rows * len).chunks_exact(len) {
        all.extend_from_slice(row);
        all.resize(all.len().next_multiple_of(16), 0.0);
    }
    all
}

fn guarded(len: usize) -> Vec<f32> {
    vec![GUARD; len + GUARDS]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }).collect()
}

struct Case {
    dense: Dense,
    inputs: usize,
    outputs: usize,
    images: usize,
    input: Vec<f32>,
    gradient: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// What the layer computed: output, input gradient, weights' gradient, bias gradient.
type Results = [Vec<f32>; 4];

impl Case {
    fn new(inputs: usize, outputs: usize, images: usize, seed: u64) -> Self {
        Self {
            dense: Dense::new(inputs, outputs),
            inputs,
            outputs,
            images,
            input: rows(seed, images, inputs),
            gradient: rows(seed + 1, images, outputs),
            weights: values(seed + 2, outputs * inputs),
            bias: values(seed + 3, outputs),
        }
    }

    fn run(&self, isa: Isa, relu: bool) -> Results {
        let Self { dense, inputs, outputs, images, input, gradient, weights, bias } = self;
        let (input_len, output_len) = (images * padded(*inputs), images * padded(*outputs));
        let mut scratch = vec![f32::NAN; dense.scratch_len()];
        let mut results = [
            guarded(output_len),
            guarded(input_len),
            // Exactly as long as they are: where they end another tensor may begin.
            guarded(outputs * inputs),
            guarded(*outputs),
        ];
        let [output, input_gradient, weights_gradient, bias_gradient] = &mut results;
        dense.forward(isa, *images, input, weights, bias, relu, output, &mut scratch);
        dense.backward_data(isa, *images, gradient, weights, input_gradient, &mut scratch);
        dense.backward_weights(isa, *images, input, gradient, weights_gradient, bias_gradient, &mut scratch);
        for result in &mut results {
            let guards = result.split_off(result.len() - GUARDS);
            assert!(guards.iter().all(|&value| value == GUARD), "{isa}: written past the end");
        }
        results
    }

    /// Each element's chain as the documentation states it.
    fn chains(&self, relu: bool) -> Results {
        let Self { inputs, outputs, images, input, gradient, weights, bias, .. } = self;
        let (input_stride, output_stride) = (padded(*inputs), padded(*outputs));
        let mut results = [
            vec![0.0; images * output_stride],
            vec![0.0; images * input_stride],
            vec![0.0; outputs * inputs],
            vec![0.0_f32; *outputs],
        ];
        for n in 0..*images {
            for o in 0..*outputs {
                let dot = (0..*inputs).fold(bias[o], |sum, i| {
                    input[n * input_stride + i].mul_add(weights[o * inputs + i], sum)
                });
                results[0][n * output_stride + o] = if relu && dot < 0.0 { 0.0 } else { dot };
                results[3][o] += gradient[n * output_stride + o];
            }
            for i in 0..*inputs {
                results[1][n * input_stride + i] = (0..*outputs).fold(0.0, |sum, o| {
                    gradient[n * output_stride + o].mul_add(weights[o * inputs + i], sum)
                });
            }
        }
        for o in 0..*outputs {
            for i in 0..*inputs {
                results[2][o * inputs + i] = (0..*images).fold(0.0, |sum, n| {
                    gradient[n * output_stride + o].mul_add(input[n * input_stride + i], sum)
                });
            }
        }
        results
    }
}

fn assert_chains(case: &Case, relu: bool) {
    let expected = case.chains(relu);
    for isa in Isa::available() {
        let found = case.run(isa, relu);
        for (what, (found, expected)) in ["output", "input gradient", "weights' gradient", "bias gradient"]
            .iter()
            .zip(found.iter().zip(&expected))
        {
            assert_eq!(bits(found), bits(expected), "{isa}: {what}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The chains' bits with every instruction set; padding zero; nothing written past a tensor.
    #[test]
    fn every_element_is_the_chain_that_is_documented(
        inputs in 1_usize..100, outputs in 1_usize..40, images in 1_usize..40, relu: bool, seed in 0_u64..1000,
    ) {
        assert_chains(&Case::new(inputs, outputs, images, seed), relu);
    }

    /// A chain of n fused multiply-adds errs by at most n * 2^-24 times the sum of the magnitudes.
    #[test]
    fn results_are_near_the_definition_in_f64(
        inputs in 1_usize..300, outputs in 1_usize..20, images in 1_usize..20, seed in 0_u64..1000,
    ) {
        let case = Case::new(inputs, outputs, images, seed);
        let (input_stride, output_stride) = (padded(inputs), padded(outputs));
        let [output, input_gradient, weights_gradient, _] = case.run(Isa::best(), false);
        let near = |found: f32, start: f32, products: Vec<(f32, f32)>| {
            let bound = (products.len() + 1) as f64 * 2_f64.powi(-24);
            let products: Vec<f64> = products.iter().map(|&(a, b)| f64::from(a) * f64::from(b)).collect();
            let exact = f64::from(start) + products.iter().sum::<f64>();
            let magnitudes = f64::from(start).abs() + products.iter().map(|product| product.abs()).sum::<f64>();
            (f64::from(found) - exact).abs() <= bound * magnitudes
        };
        for n in 0..images {
            for o in 0..outputs {
                let products =
                    (0..inputs).map(|i| (case.input[n * input_stride + i], case.weights[o * inputs + i])).collect();
                prop_assert!(near(output[n * output_stride + o], case.bias[o], products));
            }
            for i in 0..inputs {
                let products =
                    (0..outputs).map(|o| (case.gradient[n * output_stride + o], case.weights[o * inputs + i])).collect();
                prop_assert!(near(input_gradient[n * input_stride + i], 0.0, products));
            }
        }
        for o in 0..outputs {
            for i in 0..inputs {
                let products = (0..images)
                    .map(|n| (case.gradient[n * output_stride + o], case.input[n * input_stride + i])).collect();
                prop_assert!(near(weights_gradient[o * inputs + i], 0.0, products));
            }
        }
    }

    #[test]
    fn flattening_is_pytorchs_order_and_back_again(
        pixels in 1_usize..40, channels in 1_usize..40, images in 1_usize..4, seed in 0_u64..1000,
    ) {
        let flatten = Flatten { pixels, channels };
        let input = rows(seed, images * pixels, channels);
        for isa in Isa::available() {
            let mut features = guarded(images * flatten.features_stride());
            flatten.forward(isa, images, &input, &mut features);
            let mut expected = guarded(images * flatten.features_stride());
            expected[..images * flatten.features_stride()].fill(0.0);
            for n in 0..images {
                for p in 0..pixels {
                    for c in 0..channels {
                        expected[n * flatten.features_stride() + c * pixels + p] =
                            input[(n * pixels + p) * padded(channels) + c];
                    }
                }
            }
            prop_assert_eq!(&features, &expected, "{}", isa);
            let mut back = guarded(input.len());
            flatten.backward(isa, images, &features, &mut back);
            prop_assert_eq!(&back[..input.len()], &input[..], "{}", isa);
            prop_assert!(back[input.len()..].iter().all(|&value| value == GUARD));
        }
    }

    #[test]
    fn dropout_is_the_rule_for_each_element_of_the_unpadded_order(
        rows_len in 1_usize..40, channels in 1_usize..70, threshold: u16, seed in 0_u64..1000,
    ) {
        let rule = Dropout { threshold, scale: 1.25 };
        let mut input = rows(seed, rows_len, channels);
        input[0] = f32::NAN;
        let numbers: Vec<u16> =
            values(seed + 1, rows_len * channels).iter().map(|value| (value * 32768.0 + 32768.0) as u16).collect();
        let mut expected = input.clone();
        for (index, &number) in numbers.iter().enumerate() {
            let value = &mut expected[index / channels * padded(channels) + index % channels];
            *value = if number < threshold { 0.0 } else { *value * 1.25 };
        }
        for isa in Isa::available() {
            let mut found = input.clone();
            rule.apply(isa, channels, &numbers, &mut found);
            prop_assert_eq!(bits(&found), bits(&expected), "{}", isa);
        }
    }
}

#[test]
fn inputs_beyond_a_block_go_on_with_the_same_chain() {
    assert_chains(&Case::new(2049, 10, 17, 5), false);
}

/// A swallowed NaN would let a diverged job go on.
#[test]
fn numbers_that_are_not_finite_travel_through_every_pass() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut case = Case::new(35, 20, 18, 3);
        case.input[17 * padded(35) + 34] = bad;
        case.gradient[16 * padded(20) + 19] = bad;
        assert_chains(&case, false);
        let [output, input_gradient, weights_gradient, bias_gradient] = case.run(Isa::best(), false);
        assert!(output[17 * padded(20)..][..20].iter().all(|value| !value.is_finite()));
        assert!(output[17 * padded(20) + 20..].iter().all(|&value| value == 0.0), "padding");
        assert!(input_gradient[16 * padded(35)..][..35].iter().all(|value| !value.is_finite()));
        assert!(!weights_gradient[34].is_finite() && !bias_gradient[19].is_finite());
    }
}

#[test]
fn a_gradient_passes_relu_where_its_output_is_positive() {
    let activation = rows(1, 3, 40).into_iter().map(|value| value.max(0.0)).collect::<Vec<_>>();
    let gradient = rows(2, 3, 40);
    for isa in Isa::available() {
        let mut found = gradient.clone();
        relu_backward(isa, &activation, &mut found);
        for ((found, gradient), activation) in found.iter().zip(&gradient).zip(&activation) {
            assert_eq!(*found, if *activation > 0.0 { *gradient } else { 0.0 });
        }
    }
}
