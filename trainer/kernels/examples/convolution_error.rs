//! How far convolutions are from double precision: root mean square and greatest error of each pass, relative to the root
//! mean square of its result, for normally distributed values (the inputs through a ReLU).
//!
//! `cargo run --release -p lockstep-kernels --example convolution_error`

use lockstep_kernels::convolution::{Bordered, Convolution, Shape};
use lockstep_kernels::{Isa, padded};

const EXTENT: usize = 16;
const PIXELS: usize = EXTENT * EXTENT;
const IMAGES: usize = 4;

/// Normally distributed numbers, nearly: sums of twelve uniform ones.
fn normal(length: usize, mut state: u64) -> Vec<f32> {
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..length).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// The images `[pixels][channels]` with their border.
fn bordered(layout: Bordered, channels: usize, values: &[f32]) -> Vec<f32> {
    let mut scratch = vec![0.0; IMAGES * layout.len()];
    for (pixel, values) in values.chunks_exact(channels).enumerate() {
        let (image, row, column) = (pixel / PIXELS, pixel % PIXELS / EXTENT, pixel % EXTENT);
        let to = image * layout.len() + layout.pixel(row, column);
        scratch[to..to + channels].copy_from_slice(values);
    }
    scratch
}

/// The error's root mean square and maximum, relative to the root mean square of `expected`.
fn error(found: impl Iterator<Item = f32>, expected: &[f64]) -> (f64, f64) {
    let scale = (expected.iter().map(|value| value * value).sum::<f64>() / expected.len() as f64).sqrt();
    let (mut squares, mut greatest) = (0.0, 0.0_f64);
    for (found, expected) in found.zip(expected) {
        let error = (f64::from(found) - expected) / scale;
        squares += error * error;
        greatest = greatest.max(error.abs());
    }
    ((squares / expected.len() as f64).sqrt(), greatest)
}

fn main() {
    println!(
        "channels        forward             data                weights     (root mean square, greatest)"
    );
    for channels in [16, 32, 64, 128, 256] {
        let shape = Shape {
            height: EXTENT,
            width: EXTENT,
            input_channels: channels,
            output_channels: channels,
            kernel: 3,
        };
        let convolution = Convolution::new(shape);
        let input: Vec<f32> =
            normal(IMAGES * PIXELS * channels, 1).iter().map(|value| value.max(0.0)).collect();
        let gradient = normal(IMAGES * PIXELS * channels, 2);
        let kernel = normal(convolution.kernel_len(), 3);

        let isa = Isa::best();
        let bordered_input = bordered(convolution.input(), channels, &input);
        let bordered_gradient = bordered(convolution.gradient(), channels, &gradient);
        let mut packed = vec![0.0; convolution.forward_weights_len()];
        let mut scratch = vec![0.0; convolution.scratch_len(IMAGES)];
        let mut output = vec![0.0; IMAGES * PIXELS * padded(channels)];
        let mut input_gradient = output.clone();
        let mut sums = vec![0.0; convolution.accumulators_len()];
        let mut kernel_gradient = vec![0.0; kernel.len()];
        let bias = vec![0.0; padded(channels)];
        convolution.pack_forward(isa, &kernel, &mut packed);
        convolution.forward(isa, IMAGES, &bordered_input, &packed, &bias, false, &mut output, &mut scratch);
        convolution.pack_backward(isa, &kernel, &mut packed);
        convolution.backward_data(
            isa,
            IMAGES,
            &bordered_gradient,
            &packed,
            &mut input_gradient,
            &mut scratch,
        );
        convolution.accumulate_weights(
            isa,
            IMAGES,
            &bordered_input,
            &bordered_gradient,
            true,
            &mut sums,
            &mut scratch,
        );
        convolution.finish_weights(isa, &sums, &mut kernel_gradient, &mut scratch);

        let [expected, expected_input, expected_kernel] = reference(channels, &input, &gradient, &kernel);
        let errors = [
            error(output.into_iter(), &expected),
            error(input_gradient.into_iter(), &expected_input),
            error(kernel_gradient.into_iter(), &expected_kernel),
        ];
        print!("{channels:8}");
        for (mean, greatest) in errors {
            print!("  {mean:8.2e} {greatest:8.2e} ");
        }
        println!();
    }
}

/// Output and gradients in double precision.
fn reference(channels: usize, input: &[f32], gradient: &[f32], kernel: &[f32]) -> [Vec<f64>; 3] {
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let (input, gradient) = (wide(input), wide(gradient));
    let mut output = vec![0.0; input.len()];
    let mut input_gradient = vec![0.0; input.len()];
    let mut kernel_gradient = vec![0.0; kernel.len()];
    for tap in 0..9 {
        // [output][input]
        let weights: Vec<f64> = kernel.iter().skip(tap).step_by(9).map(|value| f64::from(*value)).collect();
        let mut sums = vec![0.0; weights.len()];
        for pixel in 0..IMAGES * PIXELS {
            let (row, column) = (pixel % PIXELS / EXTENT + tap / 3, pixel % EXTENT + tap % 3);
            if !(1..=EXTENT).contains(&row) || !(1..=EXTENT).contains(&column) {
                continue;
            }
            let from = pixel / PIXELS * PIXELS + (row - 1) * EXTENT + column - 1;
            let values = &input[from * channels..][..channels];
            let to = &mut input_gradient[from * channels..][..channels];
            for o in 0..channels {
                let gradient = gradient[pixel * channels + o];
                let mut sum = 0.0;
                for i in 0..channels {
                    sum += values[i] * weights[o * channels + i];
                    to[i] += gradient * weights[o * channels + i];
                    sums[o * channels + i] += gradient * values[i];
                }
                output[pixel * channels + o] += sum;
            }
        }
        for (index, sum) in sums.into_iter().enumerate() {
            kernel_gradient[index * 9 + tap] = sum;
        }
    }
    [output, input_gradient, kernel_gradient]
}
