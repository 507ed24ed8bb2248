//! Convolutions against their definition in double precision, and against themselves with other instructions and groups.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use lockstep_kernels::convolution::{Bordered, Convolution, Shape};
use lockstep_kernels::{Isa, padded};
use proptest::prelude::*;

/// Numbers in -1..1, from a linear congruential generator.
fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// Values `[images][pixels][channels]` laid out with a border.
fn bordered(layout: Bordered, shape: Shape, channels: usize, values: &[f32]) -> Vec<f32> {
    let pixels = shape.height * shape.width;
    let images = values.len() / (pixels * channels);
    let mut scratch = vec![0.0; images * layout.len()];
    for (image, scratch) in scratch.chunks_exact_mut(layout.len()).enumerate() {
        for row in 0..shape.height {
            for column in 0..shape.width {
                let from = ((image * shape.height + row) * shape.width + column) * channels;
                let to = layout.pixel(row, column);
                scratch[to..to + channels].copy_from_slice(&values[from..from + channels]);
            }
        }
    }
    scratch
}

/// A convolution with all its operands.
#[derive(Debug)]
struct Case {
    shape: Shape,
    images: usize,
    /// `[images][pixels][input_channels]`.
    input: Vec<f32>,
    /// `[images][pixels][output_channels]`.
    gradient: Vec<f32>,
    /// OIHW.
    kernel: Vec<f32>,
    bias: Vec<f32>,
    relu: bool,
}

/// What the three passes give, without the padding lanes, which are checked here.
#[derive(Debug, PartialEq)]
struct Results {
    output: Vec<f32>,
    input_gradient: Vec<f32>,
    kernel_gradient: Vec<f32>,
}

impl Results {
    fn parts(&self) -> [(&'static str, &[f32]); 3] {
        [
            ("output", &self.output),
            ("gradient of the input", &self.input_gradient),
            ("gradient of the kernel", &self.kernel_gradient),
        ]
    }

    /// As bits, for comparison; processors choose a NaN's sign and payload.
    fn bits(&self) -> Vec<Vec<u32>> {
        let bits = |value: &f32| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() };
        self.parts().iter().map(|(_, values)| values.iter().map(bits).collect()).collect()
    }
}

/// Drops padding lanes, which must be zero.
fn unpadded(values: &[f32], channels: usize) -> Vec<f32> {
    values
        .chunks_exact(padded(channels))
        .flat_map(|pixel| {
            assert!(pixel[channels..].iter().all(|lane| lane.to_bits() == 0), "a padding lane is not zero");
            &pixel[..channels]
        })
        .copied()
        .collect()
}

impl Case {
    fn new(shape: Shape, images: usize, relu: bool, seed: u64) -> Self {
        let pixels = images * shape.height * shape.width;
        let taps = shape.kernel * shape.kernel;
        Self {
            shape,
            images,
            input: numbers(pixels * shape.input_channels, seed),
            gradient: numbers(pixels * shape.output_channels, seed + 1),
            kernel: numbers(shape.output_channels * shape.input_channels * taps, seed + 2),
            bias: numbers(shape.output_channels, seed + 3),
            relu,
        }
    }

    /// All passes, in groups of `group` images.
    fn run(&self, isa: Isa, group: usize) -> Results {
        let shape = self.shape;
        let convolution = Convolution::new(shape);
        let (inputs, outputs) = (shape.input_channels, shape.output_channels);
        let pixels = shape.height * shape.width;
        let input = bordered(convolution.input(), shape, inputs, &self.input);
        let gradient = bordered(convolution.gradient(), shape, outputs, &self.gradient);
        let mut bias = self.bias.clone();
        bias.resize(padded(outputs), 0.0);
        // What buffers held before must not matter.
        let mut forward = vec![f32::NAN; convolution.forward_weights_len()];
        let mut backward = vec![f32::NAN; convolution.backward_weights_len()];
        let mut accumulators = vec![f32::NAN; convolution.accumulators_len()];
        let mut output = vec![f32::NAN; self.images * pixels * padded(outputs)];
        let mut input_gradient = vec![f32::NAN; self.images * pixels * padded(inputs)];
        let mut kernel_gradient = vec![f32::NAN; convolution.kernel_len()];
        convolution.pack_forward(isa, &self.kernel, &mut forward);
        convolution.pack_backward(isa, &self.kernel, &mut backward);
        for first in (0..self.images).step_by(group) {
            let images = group.min(self.images - first);
            let mut scratch = vec![f32::NAN; convolution.scratch_len(images)];
            let input = &input[first * convolution.input().len()..];
            let gradient = &gradient[first * convolution.gradient().len()..];
            let output = &mut output[first * pixels * padded(outputs)..];
            let input_gradient = &mut input_gradient[first * pixels * padded(inputs)..];
            convolution.forward(isa, images, input, &forward, &bias, self.relu, output, &mut scratch);
            convolution.backward_data(isa, images, gradient, &backward, input_gradient, &mut scratch);
            convolution.accumulate_weights(
                isa,
                images,
                input,
                gradient,
                first == 0,
                &mut accumulators,
                &mut scratch,
            );
        }
        let mut scratch = vec![f32::NAN; convolution.scratch_len(1)];
        convolution.finish_weights(isa, &accumulators, &mut kernel_gradient, &mut scratch);
        Results {
            output: unpadded(&output, outputs),
            input_gradient: unpadded(&input_gradient, inputs),
            kernel_gradient,
        }
    }

    /// The definition, in double precision.
    fn reference(&self) -> [Vec<f64>; 3] {
        let Shape { height, width, input_channels: inputs, output_channels: outputs, kernel } = self.shape;
        let border = kernel / 2;
        let mut output: Vec<f64> = (0..self.images * height * width)
            .flat_map(|_| self.bias.iter().map(|bias| f64::from(*bias)))
            .collect();
        let mut input_gradient = vec![0.0; self.input.len()];
        let mut kernel_gradient = vec![0.0; self.kernel.len()];
        for at in 0..self.images * height * width {
            let (row, column) = (at / width % height, at % width);
            for tap in 0..kernel * kernel {
                let (from_row, from_column) = (row + tap / kernel, column + tap % kernel);
                if !(border..height + border).contains(&from_row)
                    || !(border..width + border).contains(&from_column)
                {
                    continue;
                }
                let from =
                    (at / (height * width) * height + from_row - border) * width + from_column - border;
                for o in 0..outputs {
                    let gradient = f64::from(self.gradient[at * outputs + o]);
                    for i in 0..inputs {
                        let index = (o * inputs + i) * kernel * kernel + tap;
                        let (value, weight) =
                            (f64::from(self.input[from * inputs + i]), f64::from(self.kernel[index]));
                        output[at * outputs + o] += value * weight;
                        input_gradient[from * inputs + i] += gradient * weight;
                        kernel_gradient[index] += gradient * value;
                    }
                }
            }
        }
        if self.relu {
            for value in &mut output {
                *value = value.max(0.0);
            }
        }
        [output, input_gradient, kernel_gradient]
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let extent = prop_oneof![1..=4_usize, 5..=13_usize];
    let channels = prop_oneof![1..=8_usize, 8..=36_usize, Just(16_usize), Just(32_usize)];
    let kernel = prop_oneof![Just(1_usize), Just(3), Just(3), Just(3), Just(5)];
    (extent.clone(), extent, channels.clone(), channels, kernel).prop_map(
        |(height, width, input_channels, output_channels, kernel)| Shape {
            height,
            width,
            input_channels,
            output_channels,
            kernel,
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    (shapes(), 1..=3_usize, any::<bool>(), 0..1000_u64)
        .prop_map(|(shape, images, relu, seed)| Case::new(shape, images, relu, seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_instruction_set_gives_the_same_bits(case in cases()) {
        let expected = case.run(Isa::PORTABLE, case.images).bits();
        for isa in Isa::available() {
            prop_assert!(case.run(isa, case.images).bits() == expected, "{isa} differs from portable");
        }
    }

    #[test]
    fn images_give_the_same_bits_in_groups_of_any_size(case in cases()) {
        let expected = case.run(Isa::best(), case.images).bits();
        for group in 1..case.images {
            prop_assert!(case.run(Isa::best(), group).bits() == expected, "groups of {group}");
        }
    }

    #[test]
    fn all_passes_are_near_their_definition(case in cases()) {
        let Shape { height, width, input_channels, output_channels, kernel } = case.shape;
        let terms = [
            kernel * kernel * input_channels,
            kernel * kernel * output_channels,
            case.images * height * width,
        ];
        let results = case.run(Isa::best(), case.images);
        for (((name, found), expected), terms) in results.parts().into_iter().zip(case.reference()).zip(terms) {
            // Uniform factors: each product's root mean square is 1/3.
            let scale = (terms as f64).sqrt() / 3.0;
            for (found, expected) in found.iter().zip(expected) {
                let error = (f64::from(*found) - expected).abs() / scale;
                prop_assert!(error < 1e-5, "{name}: {found} for {expected}, {error:e} of {scale}");
            }
        }
    }

    /// A value that is not finite must be seen, whatever is multiplied by zero on the way.
    #[test]
    fn infinities_and_nan_reach_all_that_depends_on_them(
        case in cases(),
        bad in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        at in any::<prop::sample::Index>(),
    ) {
        let mut case = case;
        case.relu = false;
        let Shape { height, width, input_channels, output_channels, kernel } = case.shape;
        let border = kernel / 2;
        let index = at.index(case.input.len());
        case.input[index] = bad;
        let expected = case.run(Isa::PORTABLE, case.images);
        for isa in Isa::available() {
            prop_assert!(case.run(isa, case.images).bits() == expected.bits(), "{isa} differs from portable");
        }
        let (pixel, channel) = (index / input_channels, index % input_channels);
        let (row, column) = (pixel / width % height, pixel % width);
        for (at, output) in expected.output.chunks_exact(output_channels).enumerate() {
            let near = at / (height * width) == pixel / (height * width)
                && (at / width % height).abs_diff(row) <= border
                && (at % width).abs_diff(column) <= border;
            prop_assert!(!near || output.iter().all(|value| !value.is_finite()));
        }
        for (at, weights) in expected.kernel_gradient.chunks_exact(kernel * kernel).enumerate() {
            let centre = weights[kernel * kernel / 2];
            prop_assert!(at % input_channels != channel || !centre.is_finite());
        }
    }
}
