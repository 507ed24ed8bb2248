//! How fast convolutions are: the reference network's, one thread, for every instruction set of this CPU.
//!
//! Prints milliseconds for a micro-batch (the least of many runs) and billions of multiplications and additions a second
//! as a direct convolution would do them, next to what the core can do at most.
//!
//! `cargo run --release -p lockstep-kernels --example convolution_rate -- [images]`

use std::hint::black_box;
use std::time::Instant;

use lockstep_kernels::convolution::{Convolution, Shape};
use lockstep_kernels::{Isa, padded};

const RUNS: usize = 300;

/// The reference network's convolutions: (height and width, input channels, output channels).
const LAYERS: [(usize, usize, usize); 4] = [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64)];

/// The least time of many runs, in milliseconds.
fn least(mut run: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min)
}

fn values(length: usize) -> Vec<f32> {
    (0..length).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

/// A layer's operands, one group's images at a time.
struct Layer {
    convolution: Convolution,
    images: usize,
    input: Vec<f32>,
    gradient: Vec<f32>,
    kernel: Vec<f32>,
    bias: Vec<f32>,
    forward: Vec<f32>,
    backward: Vec<f32>,
    output: Vec<f32>,
    input_gradient: Vec<f32>,
    accumulators: Vec<f32>,
    scratch: Vec<f32>,
}

impl Layer {
    fn new(shape: Shape, images: usize) -> Self {
        let convolution = Convolution::new(shape);
        let pixels = images * shape.height * shape.width;
        Self {
            convolution,
            images,
            input: values(images * convolution.input().len()),
            gradient: values(images * convolution.gradient().len()),
            kernel: values(convolution.kernel_len()),
            bias: vec![0.0; padded(shape.output_channels)],
            forward: vec![0.0; convolution.forward_weights_len()],
            backward: vec![0.0; convolution.backward_weights_len()],
            output: vec![0.0; pixels * padded(shape.output_channels)],
            input_gradient: vec![0.0; pixels * padded(shape.input_channels)],
            accumulators: vec![0.0; convolution.accumulators_len()],
            scratch: vec![0.0; convolution.scratch_len(convolution.group())],
        }
    }

    fn groups(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (group, images) = (self.convolution.group(), self.images);
        (0..images).step_by(group).map(move |first| (first, group.min(images - first)))
    }

    fn forward(&mut self, isa: Isa) {
        let size = self.output.len() / self.images;
        for (first, images) in self.groups() {
            let input = &self.input[first * self.convolution.input().len()..];
            let output = &mut self.output[first * size..];
            let (packed, bias) = (&self.forward, &self.bias);
            self.convolution.forward(isa, images, input, packed, bias, true, output, &mut self.scratch);
        }
    }

    fn backward_data(&mut self, isa: Isa) {
        let size = self.input_gradient.len() / self.images;
        for (first, images) in self.groups() {
            let gradient = &self.gradient[first * self.convolution.gradient().len()..];
            let output = &mut self.input_gradient[first * size..];
            self.convolution.backward_data(isa, images, gradient, &self.backward, output, &mut self.scratch);
        }
    }

    fn backward_weights(&mut self, isa: Isa) {
        for (at, images) in self.groups() {
            let input = &self.input[at * self.convolution.input().len()..];
            let gradient = &self.gradient[at * self.convolution.gradient().len()..];
            let (sums, scratch) = (&mut self.accumulators, &mut self.scratch);
            self.convolution.accumulate_weights(isa, images, input, gradient, at == 0, sums, scratch);
        }
    }

    /// What is done once a step: packing twice, and the gradient into its layout.
    fn once(&mut self, isa: Isa) {
        self.convolution.pack_forward(isa, &self.kernel, &mut self.forward);
        self.convolution.pack_backward(isa, &self.kernel, &mut self.backward);
        let gradient = &mut self.kernel;
        self.convolution.finish_weights(isa, &self.accumulators, gradient, &mut self.scratch);
        self.kernel.fill(0.01);
    }
}

fn main() {
    let images = std::env::args().nth(1).map_or(16, |text| text.parse().expect("a number of images"));
    for isa in Isa::available() {
        if isa == Isa::PORTABLE && Isa::available().len() > 1 && cfg!(target_arch = "x86_64") {
            println!("{isa}: without fused multiply-adds in hardware, not measured");
            continue;
        }
        let peak = lockstep_kernels::convolution::multiply_add_rate(isa);
        println!("{isa}, {images} images; this core: {peak:.0} GFLOP/s at most");
        println!("layer                    forward          data       weights     a step");
        let mut total = 0.0;
        for (extent, input_channels, output_channels) in LAYERS {
            let shape = Shape { height: extent, width: extent, input_channels, output_channels, kernel: 3 };
            let mut layer = Layer::new(shape, images);
            let once = least(|| black_box(&mut layer).once(isa));
            let times = [
                least(|| black_box(&mut layer).forward(isa)),
                // The first layer's data need no gradient.
                if input_channels == 3 { 0.0 } else { least(|| black_box(&mut layer).backward_data(isa)) },
                least(|| black_box(&mut layer).backward_weights(isa)),
            ];
            let operations = (2 * 9 * images * extent * extent * input_channels * output_channels) as f64;
            print!("{input_channels:>2} -> {output_channels} at {extent}x{extent}");
            for time in times {
                total += time;
                print!("  {time:5.2} ms {:4.0}", if time > 0.0 { operations / time / 1e6 } else { 0.0 });
            }
            println!("  {once:5.3} ms");
            total += once;
        }
        println!("all {total:.2} ms\n");
    }
}
