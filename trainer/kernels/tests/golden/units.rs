//! What lies between convolutions and dense layers: batch norm, pooling, residual sums, copies with a border.

use lockstep_kernels::activation::{self, Extent, Reading};
use lockstep_kernels::convolution::Bordered;
use lockstep_kernels::normalisation::{
    Coefficients, Normalisation, Sums, Through, backward_sums, propagate, statistics,
};
use lockstep_kernels::pool::{Kind, Pool};
use lockstep_kernels::{Isa, padded, residual};

use crate::{Hashes, Numbers};

/// (images, height, width, channels).
const SIZES: [(usize, usize, usize, usize); 3] = [(2, 18, 16, 32), (3, 7, 5, 19), (33, 1, 1, 10)];

pub(crate) fn run(isa: Isa, kind: Numbers, hashes: &mut Hashes) {
    for (images, height, width, channels) in SIZES {
        Unit::new(isa, kind, Extent { images, height, width, channels: padded(channels) }, channels)
            .run(hashes);
    }
}

/// Activations with what a batch norm of them needs.
struct Unit {
    isa: Isa,
    extent: Extent,
    /// What the unit is, in words.
    name: String,
    values: Vec<f32>,
    gradients: Vec<f32>,
    others: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Unit {
    fn new(isa: Isa, kind: Numbers, extent: Extent, channels: usize) -> Self {
        let rows = extent.len() / extent.channels;
        let Extent { images, height, width, .. } = extent;
        Self {
            isa,
            extent,
            name: format!("of {images} times {height}x{width}, {channels} channels, {kind}"),
            values: kind.rows(41, rows, channels),
            gradients: kind.rows(42, rows, channels),
            others: kind.rows(43, rows, channels),
            gamma: Numbers::Ordinary.values(44, channels),
            beta: Numbers::Ordinary.values(45, channels),
        }
    }

    fn run(&self, hashes: &mut Hashes) {
        let normalisation = self.normalisation(hashes);
        for relu in [false, true] {
            let reading = normalisation.reading(relu);
            self.between(reading, relu, hashes);
            for kind in [Kind::Maximum, Kind::Average] {
                self.pool(kind, &normalisation, relu, hashes);
            }
            self.backward(&normalisation, relu, hashes);
        }
    }

    fn name(&self, what: &str, relu: bool) -> String {
        format!("{what} {}{}", self.name, if relu { ", ReLU" } else { "" })
    }

    /// Values of a channel.
    fn count(&self) -> usize {
        self.extent.len() / self.extent.channels
    }

    fn normalisation(&self, hashes: &mut Hashes) -> Normalisation {
        let channels = self.gamma.len();
        let mut sums = Sums::zeros(self.extent.channels);
        statistics(self.isa, self.extent, &self.values, &mut sums);
        let mut normalisation = Normalisation::zeros(self.extent.channels);
        let (mut means, mut variances) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        normalisation.set_from_batch(
            &sums,
            self.count(),
            1e-3,
            &self.gamma,
            &self.beta,
            &mut means,
            &mut variances,
        );
        hashes.add(self.name("means", false), &means);
        hashes.add(self.name("variances", false), &variances);
        let mut running = Normalisation::zeros(self.extent.channels);
        running.set_from_running(&means, &variances, 1e-3, &self.gamma, &self.beta);
        hashes.add(self.name("scales for evaluation", false), &running.scale);
        hashes.add(self.name("shifts for evaluation", false), &running.shift);
        normalisation
    }

    fn between(&self, reading: Reading<'_>, relu: bool, hashes: &mut Hashes) {
        let layout = self.bordered();
        let mut target = vec![0.0; self.extent.images * layout.len()];
        activation::fill(self.isa, self.extent, &self.values, reading, layout, &mut target);
        hashes.add(self.name("batch norm", relu), &target);
        let mut sums = vec![f32::NAN; self.extent.len()];
        residual::add(self.isa, self.extent, (&self.values, reading), (&self.others, reading), &mut sums);
        hashes.add(self.name("residual sum", relu), &sums);
        residual::accumulate(self.isa, &self.gradients, &mut sums);
        hashes.add(self.name("sum of gradients", relu), &sums);
    }

    fn bordered(&self) -> Bordered {
        let Extent { height, width, channels, .. } = self.extent;
        Bordered { rows: height + 2, columns: width + 3, channel_stride: channels, top: 1, left: 2 }
    }

    fn pool(&self, kind: Kind, normalisation: &Normalisation, relu: bool, hashes: &mut Hashes) {
        let Extent { height, width, .. } = self.extent;
        for (rows, columns) in [(2, 2), (3, 3), (height, width)] {
            if rows > height || columns > width {
                continue;
            }
            let pool = Pool { kind, rows, columns };
            let name = |what: &str| self.name(&format!("{kind:?} over {rows}x{columns} {what}"), relu);
            let output_len = pool.output(self.extent).len();
            let mut output = vec![f32::NAN; output_len];
            pool.forward(self.isa, self.extent, &self.values, normalisation.reading(relu), &mut output);
            hashes.add(name("forward"), &output);
            let mut input_gradients = vec![f32::NAN; self.extent.len()];
            let mut sums = Sums::zeros(self.extent.channels);
            pool.backward(
                self.isa,
                self.extent,
                &self.values,
                normalisation.reading(relu),
                &normalisation.centre,
                &self.gradients[..output_len],
                &mut input_gradients,
                &mut sums,
            );
            hashes.add(name("backward"), &input_gradients);
            hashes.add_doubles(name("sums of gradients"), &sums.values);
            hashes.add_doubles(name("sums of products"), &sums.products);
        }
    }

    fn backward(&self, normalisation: &Normalisation, relu: bool, hashes: &mut Hashes) {
        let mut sums = Sums::zeros(self.extent.channels);
        backward_sums(
            self.isa,
            self.extent,
            &self.values,
            normalisation.reading(relu),
            &normalisation.centre,
            &self.gradients,
            &mut sums,
        );
        let channels = self.gamma.len();
        let (mut gamma, mut beta) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        let mut coefficients = Coefficients::zeros(self.extent.channels);
        normalisation.finish_backward(
            &sums,
            self.count(),
            &self.gamma,
            &mut gamma,
            &mut beta,
            &mut coefficients,
        );
        hashes.add(self.name("gradient of gamma", relu), &gamma);
        hashes.add(self.name("gradient of beta", relu), &beta);
        let coefficients = &coefficients;
        let through = [
            ("nothing", Through::Nothing),
            ("ReLU", Through::Relu),
            (
                "batch norm",
                Through::Normalisation { normalisation, coefficients, relu_before: false, relu_after: relu },
            ),
            (
                "ReLU and batch norm",
                Through::Normalisation { normalisation, coefficients, relu_before: true, relu_after: relu },
            ),
        ];
        for (what, through) in through {
            let layout = self.bordered();
            let mut target = vec![0.0; self.extent.images * layout.len()];
            let mut bias = vec![0.0; self.extent.channels];
            propagate(
                self.isa,
                self.extent,
                &self.values,
                &self.gradients,
                through,
                layout,
                &mut target,
                &mut bias,
            );
            hashes.add(self.name(&format!("backward through {what}"), relu), &target);
            hashes.add_doubles(self.name(&format!("bias gradient through {what}"), relu), &bias);
        }
    }
}
