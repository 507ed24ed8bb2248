//! Convolutions: every algorithm, sizes that fit no tile, channels that fit no vector.

use lockstep_kernels::convolution::{Bordered, Convolution, Shape};
use lockstep_kernels::{Isa, padded};

use crate::{Hashes, Numbers};

const IMAGES: usize = 3;

/// (height, width, input channels, output channels, kernel).
const SHAPES: [(usize, usize, usize, usize, usize); 9] = [
    (12, 12, 3, 32, 3),
    (8, 8, 32, 32, 3),
    (9, 7, 8, 24, 3),
    (6, 10, 17, 40, 3),
    (1, 1, 16, 16, 3),
    (4, 5, 2, 7, 3),
    (5, 6, 6, 10, 5),
    (7, 3, 20, 33, 1),
    (3, 9, 9, 12, 7),
];

fn bordered(layout: Bordered, shape: Shape, channels: usize, values: &[f32]) -> Vec<f32> {
    let mut scratch = vec![0.0; IMAGES * layout.len()];
    for (pixel, values) in values.chunks_exact(channels).enumerate() {
        let (row, column) = (pixel / shape.width, pixel % shape.width);
        let (image, row) = (row / shape.height, row % shape.height);
        scratch[image * layout.len() + layout.pixel(row, column)..][..channels].copy_from_slice(values);
    }
    scratch
}

pub(crate) fn run(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    for (height, width, input_channels, output_channels, kernel) in SHAPES {
        let shape = Shape { height, width, input_channels, output_channels, kernel };
        one(isa, kind, shape, hashes);
    }
}

fn one(isa: Isa, kind: Numbers, shape: Shape, hashes: &mut Hashes) {
    let Shape { height, width, input_channels, output_channels, kernel } = shape;
    let convolution = Convolution::new(shape);
    let pixels = IMAGES * height * width;
    let input =
        bordered(convolution.input(), shape, input_channels, &kind.values(1, pixels * input_channels));
    let gradient =
        bordered(convolution.gradient(), shape, output_channels, &kind.values(2, pixels * output_channels));
    let weights = kind.values(3, convolution.kernel_len());
    let bias = kind.rows(4, 1, output_channels);
    let mut packed_forward = vec![f32::NAN; convolution.forward_weights_len()];
    let mut packed_backward = vec![f32::NAN; convolution.backward_weights_len()];
    let mut accumulators = vec![f32::NAN; convolution.accumulators_len()];
    let mut scratch = vec![f32::NAN; convolution.scratch_len(IMAGES)];
    let mut output = vec![f32::NAN; pixels * padded(output_channels)];
    let mut input_gradient = vec![f32::NAN; pixels * padded(input_channels)];
    let mut kernel_gradient = vec![f32::NAN; convolution.kernel_len()];

    let name = |part| {
        format!(
            "convolution {kernel}x{kernel} of {height}x{width}, {input_channels} to {output_channels}, {part}, {kind}"
        )
    };
    convolution.pack_forward(isa, &weights, &mut packed_forward);
    for (relu, part) in [(false, "forward"), (true, "forward with ReLU")] {
        convolution.forward(isa, IMAGES, &input, &packed_forward, &bias, relu, &mut output, &mut scratch);
        hashes.add(name(part), &output);
    }
    convolution.pack_backward(isa, &weights, &mut packed_backward);
    convolution.backward_data(isa, IMAGES, &gradient, &packed_backward, &mut input_gradient, &mut scratch);
    hashes.add(name("backward to the data"), &input_gradient);
    convolution.accumulate_weights(isa, IMAGES, &input, &gradient, true, &mut accumulators, &mut scratch);
    convolution.finish_weights(isa, &accumulators, &mut kernel_gradient, &mut scratch);
    hashes.add(name("backward to the weights"), &kernel_gradient);
}
