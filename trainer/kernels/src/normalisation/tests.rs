use proptest::prelude::*;

use super::*;
use crate::activation::tests::{bits, extents, values};

/// Random activations of some size with what a batch norm of them needs.
#[derive(Clone, Debug)]
struct Case {
    extent: Extent,
    channels: usize,
    stored: Vec<f32>,
    gradients: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    fn count(&self) -> usize {
        self.extent.images * self.extent.pixels()
    }

    fn bits_of(sums: &Sums) -> Vec<u64> {
        sums.values
            .iter()
            .chain(&sums.products)
            .map(|sum| if sum.is_nan() { 1 } else { sum.to_bits() })
            .collect()
    }

    /// The batch norm of the stored values, their means and variances.
    fn normalisation(&self, isa: Isa) -> (Normalisation, Vec<f32>, Vec<f32>) {
        let mut sums = Sums::zeros(self.extent.channels);
        statistics(isa, self.extent, &self.stored, &mut sums);
        let mut normalisation = Normalisation::zeros(self.extent.channels);
        let (mut means, mut variances) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        let (gamma, beta) = (&self.gamma, &self.beta);
        normalisation.set_from_batch(&sums, self.count(), EPSILON, gamma, beta, &mut means, &mut variances);
        (normalisation, means, variances)
    }

    /// One channel's stored values and gradients.
    fn channel(&self, channel: usize) -> (Vec<f64>, Vec<f64>) {
        let of = |values: &[f32]| {
            values.iter().skip(channel).step_by(self.extent.channels).map(|&value| f64::from(value)).collect()
        };
        (of(&self.stored), of(&self.gradients))
    }
}

const EPSILON: f64 = 1e-3;

fn cases(special: bool) -> impl Strategy<Value = Case> {
    (extents(), 0_u64..10_000, -100.0_f32..100.0).prop_map(move |((extent, channels), seed, mean)| {
        let of = |seed, len| values(seed, len, extent.channels, channels, special);
        let mut stored = of(seed, extent.len());
        if !special {
            // Means far from 0 cost a naive sum of squares its digits.
            for pixel in stored.chunks_exact_mut(extent.channels) {
                pixel[..channels].iter_mut().for_each(|value| *value += mean);
            }
        }
        let parameters = |seed| values(seed, channels, channels, channels, false);
        let (gamma, beta) = (parameters(seed + 2), parameters(seed + 3));
        Case { extent, channels, gradients: of(seed + 1, extent.len()), stored, gamma, beta }
    })
}

fn close(found: f32, expected: f64, bound: f64) -> Result<(), TestCaseError> {
    prop_assert!((f64::from(found) - expected).abs() <= bound, "{} for {}, bound {}", found, expected, bound);
    Ok(())
}

proptest! {
    /// Mean within what sums in four chains of at most 64 additions, and three more, can lose of the largest value (N. Higham,
    /// "Accuracy and Stability of Numerical Algorithms", 2002, section 4.2); variance within 3e-7 of the deviation times the
    /// largest value and of itself: three digits more than sums of plain squares would have.
    #[test]
    fn statistics_are_exact_to_single_precision_also_far_from_zero(case in cases(false)) {
        let (_, means, variances) = case.normalisation(Isa::best());
        for channel in 0..case.channels {
            let (values, _) = case.channel(channel);
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let roundings = (count.min(256.0) / 4.0).ceil() + 3.0;
            close(means[channel], mean, roundings * f64::from(f32::EPSILON) / 2.0 * largest)?;
            close(variances[channel], variance, 1e-6 * (variance + variance.sqrt() * 3e-1 * largest) + 1e-12 * largest * largest)?;
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits_however_images_are_grouped(
        case in prop_oneof![cases(false), cases(true)], relu_before: bool, relu_after: bool, border in 0_usize..2,
    ) {
        let run = |isa: Isa, grouped: bool| {
            let extent = case.extent;
            let group = if grouped { extent } else { Extent { images: 1, ..extent } };
            let mut sums = Sums::zeros(extent.channels);
            for stored in case.stored.chunks(group.len()) {
                statistics(isa, group, stored, &mut sums);
            }
            let mut found = Case::bits_of(&sums);
            let mut normalisation = Normalisation::zeros(extent.channels);
            let (mut means, mut variances) = (vec![0.0; case.channels], vec![0.0; case.channels]);
            let (gamma, beta) = (&case.gamma, &case.beta);
            normalisation.set_from_batch(&sums, case.count(), EPSILON, gamma, beta, &mut means, &mut variances);
            let reading = normalisation.reading(relu_after);
            sums.clear();
            for (stored, gradients) in case.stored.chunks(group.len()).zip(case.gradients.chunks(group.len())) {
                backward_sums(isa, group, stored, reading, &normalisation.centre, gradients, &mut sums);
            }
            found.extend(Case::bits_of(&sums));
            let mut coefficients = Coefficients::zeros(extent.channels);
            let (gamma_gradient, beta_gradient) = (&mut means, &mut variances);
            normalisation.finish_backward(
                &sums, case.count(), gamma, gamma_gradient, beta_gradient, &mut coefficients);
            let layout = Bordered {
                rows: extent.height + border, columns: extent.width + 2 * border, channel_stride: extent.channels,
                top: border, left: border,
            };
            let (normalisation, coefficients) = (&normalisation, &coefficients);
            let through = [
                Through::Nothing,
                Through::Relu,
                Through::Normalisation { normalisation, coefficients, relu_before, relu_after },
            ];
            for through in through {
                let mut target = vec![0.0; extent.images * layout.len()];
                let mut bias = vec![0.0; extent.channels];
                let targets = target.chunks_mut(group.images * layout.len());
                let pairs = case.stored.chunks(group.len()).zip(case.gradients.chunks(group.len()));
                for ((stored, gradients), target) in pairs.zip(targets) {
                    propagate(isa, group, stored, gradients, through, layout, target, &mut bias);
                }
                let padding = |at: usize| at % extent.channels >= case.channels;
                let zero = |(at, value): (usize, &f32)| !padding(at) || *value == 0.0;
                assert!(target.iter().enumerate().all(zero), "padding lanes");
                found.extend(bits(&target).into_iter().map(u64::from));
                found.extend(bias.iter().map(|sum| if sum.is_nan() { 1 } else { sum.to_bits() }));
            }
            found
        };
        let expected = run(Isa::PORTABLE, false);
        for isa in Isa::available() {
            prop_assert!(run(isa, true) == expected, "{}", isa);
        }
    }

    /// Against the formulas in double precision; the bounds are single precision's, times the sizes of what is added.
    #[test]
    fn gradients_are_those_of_the_formulas(case in cases(false), relu_after: bool) {
        let isa = Isa::best();
        let extent = case.extent;
        let (normalisation, means, variances) = case.normalisation(isa);
        let mut sums = Sums::zeros(extent.channels);
        let reading = normalisation.reading(relu_after);
        backward_sums(isa, extent, &case.stored, reading, &normalisation.centre, &case.gradients, &mut sums);
        let mut coefficients = Coefficients::zeros(extent.channels);
        let (mut gammas, mut betas) = (vec![0.0; case.channels], vec![0.0; case.channels]);
        normalisation.finish_backward(
            &sums, case.count(), &case.gamma, &mut gammas, &mut betas, &mut coefficients);
        let through = Through::Normalisation {
            normalisation: &normalisation, coefficients: &coefficients, relu_before: false, relu_after,
        };
        let mut target = vec![0.0; extent.len()];
        let mut bias = vec![0.0; extent.channels];
        propagate(isa, extent, &case.stored, &case.gradients, through, extent.plain(), &mut target, &mut bias);
        for channel in 0..case.channels {
            let (values, mut gradients) = case.channel(channel);
            let (scale, shift) = (normalisation.scale[channel], normalisation.shift[channel]);
            if relu_after {
                for (gradient, &value) in gradients.iter_mut().zip(&values) {
                    // The same side of the kink as the kernel.
                    *gradient = if (value as f32).mul_add(scale, shift) > 0.0 { *gradient } else { 0.0 };
                }
            }
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            let deviation = (variance + EPSILON).sqrt();
            let normal: Vec<f64> = values.iter().map(|value| (value - mean) / deviation).collect();
            let beta: f64 = gradients.iter().sum();
            let gamma: f64 = gradients.iter().zip(&normal).map(|(gradient, normal)| gradient * normal).sum();
            let size = gradients.iter().map(|gradient| gradient.abs()).sum::<f64>();
            let spread = normal.iter().fold(1.0_f64, |most, normal| most.max(normal.abs()));
            // Of a mean of 100 the deviation keeps what single precision leaves of it.
            let off = 2e-6 * (1.0 + mean.abs() / deviation);
            close(betas[channel], beta, 1e-6 * size + 1e-12)?;
            close(gammas[channel], gamma, off * size * spread + 1e-12)?;
            let factor = f64::from(case.gamma[channel]) / deviation;
            for (index, (gradient, normal)) in gradients.iter().zip(&normal).enumerate() {
                let expected = factor * (gradient - beta / count - normal * gamma / count);
                let size = factor.abs() * (2.0 + size / count * (1.0 + spread * spread));
                close(target[index * extent.channels + channel], expected, off * size + 1e-12)?;
            }
        }
        let _ = (means, variances);
    }
}

#[test]
fn a_constant_channel_has_variance_zero_and_nan_travels() {
    let extent = Extent { images: 3, height: 4, width: 5, channels: LANES };
    for value in [0.0, 1.0 / 255.0 * 77.0, -3.25] {
        let case = Case {
            extent,
            channels: 2,
            stored: vec![value; extent.len()],
            gradients: Vec::new(),
            gamma: vec![1.0; 2],
            beta: vec![0.0; 2],
        };
        let (_, means, variances) = case.normalisation(Isa::best());
        assert!((means[0] - value).abs() <= 1e-7 * value.abs(), "{means:?}");
        assert!((0.0..1e-12).contains(&variances[0]), "{variances:?}");
        let mut broken = case;
        broken.stored[7 * LANES] = f32::NAN;
        let (normalisation, means, variances) = broken.normalisation(Isa::best());
        assert!(means[0].is_nan() && variances[0].is_nan() && normalisation.scale[0].is_nan());
        assert!(!means[1].is_nan());
    }
}

#[test]
fn running_statistics_make_the_map_that_keras_and_pytorch_define() {
    let mut normalisation = Normalisation::zeros(LANES);
    normalisation.set_from_running(&[2.0], &[3.0], 1.0, &[5.0], &[0.5]);
    assert_eq!((normalisation.scale[0], normalisation.shift[0]), (2.5, -4.5));
    assert_eq!((normalisation.scale[1], normalisation.shift[1]), (0.0, 0.0));
}
