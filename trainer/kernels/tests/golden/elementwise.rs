//! What works number by number: pixels, dropout, flattening, optimizers.

use lockstep_kernels::dropout::Dropout;
use lockstep_kernels::flatten::Flatten;
use lockstep_kernels::optimizer::{Adam, Sgd, all_finite};
use lockstep_kernels::{Isa, padded, pixels};

use crate::numbers::bits;
use crate::{Hashes, Numbers};

pub(crate) fn run(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    dropout(isa, kind, hashes);
    flatten(isa, kind, hashes);
    adam(isa, kind, hashes);
    sgd(isa, kind, hashes);
    let finite = [0, 100, 1000].map(|len| u8::from(all_finite(isa, &kind.values(24, len))));
    hashes.add_bytes(format!("whether all are finite, {kind}"), finite);
    // No instruction set has a say in pixels; architectures have.
    if kind == Numbers::Ordinary {
        normalise(hashes);
    }
}

fn normalise(hashes: &mut Hashes) {
    let bytes: Vec<u8> = (0..=255).chain(0..8).collect();
    let mut output = vec![0.0; 2 * 50 * 4];
    pixels::normalise(&bytes, 44, 3, 4, 200, &mut output);
    hashes.add("pixels", &output);
}

fn dropout(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    let rule = Dropout { threshold: 20_000, scale: 65_536.0 / 45_536.0 };
    for channels in [3, 32, 45] {
        const ROWS: usize = 40;
        let numbers: Vec<u16> = bits(21).map(|bits| (bits >> 44) as u16).take(ROWS * channels).collect();
        let mut values = kind.rows(22, ROWS, channels);
        rule.apply(isa, channels, &numbers, &mut values);
        hashes.add(format!("dropout, {channels} channels, {kind}"), &values);
    }
}

fn flatten(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    const IMAGES: usize = 3;
    for (pixels, channels) in [(64, 64), (35, 19)] {
        let flatten = Flatten { pixels, channels };
        let name = |part| format!("flatten of {pixels} pixels, {channels} channels, {part}, {kind}");
        let mut features = vec![f32::NAN; IMAGES * flatten.features_stride()];
        flatten.forward(isa, IMAGES, &kind.rows(23, IMAGES * pixels, channels), &mut features);
        hashes.add(name("forward"), &features);
        let gradient = kind.rows(24, IMAGES, pixels * channels);
        let mut input_gradient = vec![f32::NAN; IMAGES * pixels * padded(channels)];
        flatten.backward(isa, IMAGES, &gradient, &mut input_gradient);
        hashes.add(name("backward"), &input_gradient);
    }
}

/// Elements that an update changes: no whole number of vectors.
const ELEMENTS: usize = 1003;

fn adam(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    let rule = Adam {
        mean: 0.125,
        beta1: 0.9,
        one_minus_beta1: 0.1,
        beta2: 0.999,
        one_minus_beta2: 0.001,
        rate: 0.003,
        root_correction: 4.2,
        epsilon: 1e-7,
    };
    let mut parameters = kind.values(31, ELEMENTS);
    let mut first = kind.values(32, ELEMENTS);
    let mut second: Vec<f32> = kind.values(33, ELEMENTS).into_iter().map(f32::abs).collect();
    rule.update(isa, &mut parameters, &mut first, &mut second, &kind.values(34, ELEMENTS));
    for (part, values) in [("parameters", parameters), ("first moment", first), ("second moment", second)] {
        hashes.add(format!("Adam, {part}, {kind}"), &values);
    }
}

fn sgd(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let rule = Sgd { mean: 0.125, momentum, weight_decay: 0.0005, learning_rate: 0.05, nesterov };
        let mut parameters = kind.values(35, ELEMENTS);
        let mut velocity = if momentum > 0.0 { kind.values(36, ELEMENTS) } else { Vec::new() };
        rule.update(isa, &mut parameters, &mut velocity, &kind.values(37, ELEMENTS));
        let name = |part| format!("SGD with momentum {momentum}, Nesterov {nesterov}, {part}, {kind}");
        hashes.add(name("parameters"), &parameters);
        hashes.add(name("velocity"), &velocity);
    }
}
