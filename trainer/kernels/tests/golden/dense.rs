//! Dense layers, and the loss at their end.

use lockstep_kernels::dense::{Dense, relu_backward};
use lockstep_kernels::softmax_cross_entropy::SoftmaxCrossEntropy;
use lockstep_kernels::{Isa, padded};

use crate::{Hashes, Numbers};

/// (images, inputs, outputs).
const SIZES: [(usize, usize, usize); 4] = [(16, 320, 128), (7, 100, 10), (33, 19, 45), (1, 1, 1)];

pub(crate) fn run(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    for (images, inputs, outputs) in SIZES {
        layer(isa, kind, images, inputs, outputs, hashes);
    }
    for classes in [2, 10, 37] {
        loss(kind, classes, hashes);
    }
}

fn layer(isa: Isa, kind: Numbers, images: usize, inputs: usize, outputs: usize, hashes: &mut Hashes) {
    let dense = Dense::new(inputs, outputs);
    let input = kind.rows(11, images, inputs);
    let mut gradient = kind.rows(12, images, outputs);
    let weights = kind.values(13, outputs * inputs);
    let bias = kind.values(14, outputs);
    let mut scratch = vec![f32::NAN; dense.scratch_len()];
    let mut output = vec![f32::NAN; images * padded(outputs)];
    let mut input_gradient = vec![f32::NAN; images * padded(inputs)];
    let mut weights_gradient = vec![f32::NAN; outputs * inputs];
    let mut bias_gradient = vec![f32::NAN; outputs];

    let name = |part| format!("dense of {images}, {inputs} to {outputs}, {part}, {kind}");
    for (relu, part) in [(false, "forward"), (true, "forward with ReLU")] {
        dense.forward(isa, images, &input, &weights, &bias, relu, &mut output, &mut scratch);
        hashes.add(name(part), &output);
    }
    relu_backward(isa, &output, &mut gradient);
    hashes.add(name("backward of ReLU"), &gradient);
    dense.backward_data(isa, images, &gradient, &weights, &mut input_gradient, &mut scratch);
    hashes.add(name("backward to the data"), &input_gradient);
    dense.backward_weights(
        isa,
        images,
        &input,
        &gradient,
        &mut weights_gradient,
        &mut bias_gradient,
        &mut scratch,
    );
    hashes.add(name("backward to the weights"), &weights_gradient);
    hashes.add(name("backward to the bias"), &bias_gradient);
}

fn loss(kind: Numbers, classes: usize, hashes: &mut Hashes) {
    const IMAGES: usize = 21;
    let logits: Vec<f32> = kind.rows(15, IMAGES, classes).iter().map(|logit| logit * 9.0).collect();
    let labels: Vec<u32> = (0..IMAGES).map(|image| (image * 5 % classes) as u32).collect();
    for smoothing in [0.0, 0.1] {
        let mut gradient = vec![f32::NAN; IMAGES * padded(classes)];
        let loss = SoftmaxCrossEntropy::new(classes, smoothing).run(&logits, &labels, Some(&mut gradient));
        let name = |part| format!("loss of {classes} classes, smoothing {smoothing}, {part}, {kind}");
        hashes.add_doubles(name("sum"), &[loss.sum]);
        hashes.add_bytes(name("correct"), loss.correct.to_le_bytes());
        hashes.add(name("gradient"), &gradient);
    }
}
