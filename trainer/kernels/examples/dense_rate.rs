//! How fast the passes outside of convolutions are: the reference network's largest dense layer, its loss, dropout and
//! Adam, on one thread, for every instruction set of this CPU, next to what the core and its memory can do.
//!
//! Prints the least milliseconds of many runs: `cargo run --release -p lockstep-kernels --example dense_rate -- [images]`

use std::hint::black_box;
use std::time::Instant;

use lockstep_kernels::convolution::multiply_add_rate;
use lockstep_kernels::dense::Dense;
use lockstep_kernels::dropout::Dropout;
use lockstep_kernels::flatten::Flatten;
use lockstep_kernels::optimizer::{Adam, all_finite};
use lockstep_kernels::softmax_cross_entropy::SoftmaxCrossEntropy;
use lockstep_kernels::{Isa, padded, pixels};

const RUNS: usize = 200;
const INPUTS: usize = 4096;
const OUTPUTS: usize = 128;
const PARAMETERS: usize = 550_000;
const DROPPED: usize = 200_000;

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

fn main() {
    let images = std::env::args().nth(1).and_then(|images| images.parse().ok()).unwrap_or(16);
    for isa in Isa::available() {
        if isa == Isa::PORTABLE && cfg!(target_arch = "x86_64") {
            println!("{isa}: without fused multiply-adds in hardware, not measured");
            continue;
        }
        println!("{isa}, {images} images; this core: {:.0} GFLOP/s at most", multiply_add_rate(isa));
        dense(isa, images);
        others(isa, images);
        println!();
    }
    loss(images);
    bytes(images);
}

fn dense(isa: Isa, images: usize) {
    let dense = Dense::new(INPUTS, OUTPUTS);
    let input = values(images * padded(INPUTS));
    let gradient = values(images * padded(OUTPUTS));
    let weights = values(INPUTS * OUTPUTS);
    let bias = values(OUTPUTS);
    let mut output = values(images * padded(OUTPUTS));
    let mut input_gradient = values(images * padded(INPUTS));
    let mut weights_gradient = values(INPUTS * OUTPUTS);
    let mut bias_gradient = values(OUTPUTS);
    let mut scratch = values(dense.scratch_len());
    let forward = least(|| {
        dense.forward(isa, images, &input, &weights, &bias, true, black_box(&mut output), &mut scratch);
    });
    let data = least(|| {
        dense.backward_data(isa, images, &gradient, &weights, black_box(&mut input_gradient), &mut scratch)
    });
    let weights = least(|| {
        let (weights, bias) = (&mut weights_gradient, &mut bias_gradient);
        dense.backward_weights(isa, images, &input, &gradient, weights, bias, &mut scratch);
    });
    let operations = (2 * images * INPUTS * OUTPUTS) as f64 / 1e6;
    for (pass, time) in [("forward", forward), ("backward data", data), ("backward weights", weights)] {
        println!("  {INPUTS} -> {OUTPUTS} {pass:<20} {time:6.3} ms {:5.0} GFLOP/s", operations / time);
    }
    println!("  {INPUTS} -> {OUTPUTS} {:<20} {:6.3} ms", "together", forward + data + weights);
}

fn others(isa: Isa, images: usize) {
    let report = |what: &str, time: f64, bytes: usize| {
        println!("  {what:<32} {time:6.3} ms {:5.1} GB/s", bytes as f64 / time / 1e6);
    };
    let flatten = Flatten { pixels: 64, channels: 64 };
    let (image, mut features) = (values(images * INPUTS), values(images * INPUTS));
    let time = least(|| flatten.forward(isa, images, &image, black_box(&mut features)));
    report("flatten 8x8x64", time, 8 * images * INPUTS);
    let time = least(|| flatten.backward(isa, images, &image, black_box(&mut features)));
    report("flatten backward", time, 8 * images * INPUTS);

    let numbers: Vec<u16> = (0..DROPPED).map(|i| (i * 40_503) as u16).collect();
    let rule = Dropout { threshold: 16_384, scale: 1.0 };
    for channels in [32, 10] {
        let mut activation = values(DROPPED / channels * padded(channels));
        let time = least(|| rule.apply(isa, channels, &numbers, black_box(&mut activation)));
        report(&format!("dropout of 200k, {channels} channels"), time, 8 * activation.len());
    }

    let mut buffers = [(); 4].map(|()| values(PARAMETERS));
    let copied = least(|| {
        let [to, from, ..] = &mut buffers;
        black_box(to).copy_from_slice(from);
    });
    report("memcpy of 550k values", copied, 8 * PARAMETERS);
    let time = least(|| _ = black_box(all_finite(isa, &buffers[0])));
    report("finite check of 550k values", time, 4 * PARAMETERS);
    let rule = Adam {
        mean: 0.125,
        beta1: 0.9,
        one_minus_beta1: 0.1,
        beta2: 0.999,
        one_minus_beta2: 0.001,
        rate: 1e-6,
        root_correction: 1.0,
        epsilon: 1e-7,
    };
    buffers[2].fill(0.5);
    let time = least(|| {
        let [parameters, first, second, gradients] = &mut buffers;
        rule.update(isa, parameters, first, second, gradients);
    });
    report("Adam over 550k values", time, 28 * PARAMETERS);
}

fn loss(images: usize) {
    let mut kernel = SoftmaxCrossEntropy::new(10, 0.1);
    let labels: Vec<u32> = (0..images as u32).map(|image| image % 10).collect();
    let (logits, mut gradient) = (values(images * 16), values(images * 16));
    let time = least(|| _ = black_box(kernel.run(&logits, &labels, Some(&mut gradient))));
    println!("loss of {images} images, 10 classes: {time:.4} ms");
}

fn bytes(images: usize) {
    let image = vec![77; 32 * 32 * 3];
    let mut output = vec![0.0; 34 * 34 * 3];
    let time = least(|| {
        for _ in 0..images {
            pixels::normalise(&image, 32, 3, 3, 34 * 3, black_box(&mut output[105..]));
        }
    });
    println!("pixels of {images} images, 32x32x3: {time:.4} ms");
}
