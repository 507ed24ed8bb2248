//! Softmax cross-entropy over the logits, with its gradient, in f64 and with `libm`: the same bits on every CPU.

use crate::padded;

/// Loss of a micro-batch, as a sum over its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Sum of the images' losses.
    pub sum: f64,
    /// Images whose largest logit (the first of equals) is the label's.
    pub correct: u64,
}

/// The loss against targets `(1 - smoothing) * one_hot(label) + smoothing / classes`.
#[derive(Clone, Debug)]
pub struct SoftmaxCrossEntropy {
    smoothing: f64,
    /// Of one image's logits, each less the largest.
    exponentials: Vec<f64>,
}

impl SoftmaxCrossEntropy {
    /// `smoothing` in [0, 1).
    pub fn new(classes: usize, smoothing: f64) -> Self {
        Self { smoothing, exponentials: vec![0.0; classes] }
    }

    /// Loss of `labels.len()` images; with `gradient`, also writes the gradient of their *mean* loss,
    /// `(softmax - target) / images`, and zeros into its padding.
    ///
    /// `logits` and `gradient`: `[images][padded(classes)]`; `labels` below `classes`. Sums run in sequence over the
    /// classes and the images. NaN or +infinity among an image's logits makes the loss NaN, and the image's answer
    /// wrong; -infinity is a probability of 0.
    pub fn run(&mut self, logits: &[f32], labels: &[u32], mut gradient: Option<&mut [f32]>) -> Loss {
        let stride = padded(self.exponentials.len());
        let mut loss = Loss { sum: 0.0, correct: 0 };
        for (image, &label) in labels.iter().enumerate() {
            let logits = &logits[image * stride..][..self.exponentials.len()];
            let (one, sum, correct) = self.image(logits, label as usize);
            loss.sum += one;
            loss.correct += u64::from(correct);
            if let Some(gradient) = &mut gradient {
                let gradient = &mut gradient[image * stride..][..stride];
                self.image_gradient(label as usize, sum, labels.len(), gradient);
            }
        }
        loss
    }

    /// One image's loss, the sum of its exponentials, and whether its largest logit is the label's.
    fn image(&mut self, logits: &[f32], label: usize) -> (f64, f64, bool) {
        let (mut largest, mut best) = (f32::NEG_INFINITY, 0);
        for (class, &logit) in logits.iter().enumerate() {
            if logit > largest {
                (largest, best) = (logit, class);
            }
        }
        let (mut sum, mut shifted_sum) = (0.0, 0.0);
        for (exponential, &logit) in self.exponentials.iter_mut().zip(logits) {
            let shifted = f64::from(logit) - f64::from(largest);
            *exponential = libm::exp(shifted);
            sum += *exponential;
            shifted_sum += shifted;
        }
        // -sum(target * log_softmax), log_softmax = shifted - log(sum), targets summing to 1.
        let shifted_label = f64::from(logits[label]) - f64::from(largest);
        let uniform = self.smoothing / logits.len() as f64;
        let smoothed = if self.smoothing == 0.0 { 0.0 } else { uniform * shifted_sum };
        let loss = libm::log(sum) - (1.0 - self.smoothing) * shifted_label - smoothed;
        (loss, sum, best == label && !sum.is_nan())
    }

    fn image_gradient(&self, label: usize, sum: f64, images: usize, gradient: &mut [f32]) {
        let uniform = self.smoothing / self.exponentials.len() as f64;
        let (classes, padding) = gradient.split_at_mut(self.exponentials.len());
        for (class, (gradient, exponential)) in classes.iter_mut().zip(&self.exponentials).enumerate() {
            let target = uniform + if class == label { 1.0 - self.smoothing } else { 0.0 };
            *gradient = ((exponential / sum - target) / images as f64) as f32;
        }
        padding.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows of logits as the network gives them.
    fn pad(logits: &[f32], classes: usize) -> Vec<f32> {
        let mut rows = Vec::new();
        for row in logits.chunks_exact(classes) {
            rows.extend_from_slice(row);
            rows.resize(rows.len().next_multiple_of(crate::LANES), 0.0);
        }
        rows
    }

    fn loss_of(logits: &[f32], labels: &[u32], smoothing: f64) -> Loss {
        let classes = logits.len() / labels.len();
        SoftmaxCrossEntropy::new(classes, smoothing).run(&pad(logits, classes), labels, None)
    }

    proptest! {
        /// The definition with explicit probabilities; the bound is f64's rounding of a few operations on logits of 20.
        #[test]
        fn loss_and_gradient_are_the_definitions(
            (logits, labels, smoothing) in (1_usize..6, 2_usize..40).prop_flat_map(|(images, classes)| (
                prop::collection::vec(-20.0_f32..20.0, images * classes),
                prop::collection::vec(0..classes as u32, images),
                prop_oneof![Just(0.0), 0.0..0.9],
            ))
        ) {
            let (images, classes) = (labels.len(), logits.len() / labels.len());
            let stride = padded(classes);
            let mut gradient = vec![f32::NAN; images * stride];
            let mut kernel = SoftmaxCrossEntropy::new(classes, smoothing);
            let loss = kernel.run(&pad(&logits, classes), &labels, Some(&mut gradient));
            let (mut sum, mut correct) = (0.0, 0);
            for (image, (logits, &label)) in logits.chunks_exact(classes).zip(&labels).enumerate() {
                let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
                for (class, &logit) in logits.iter().enumerate() {
                    let probability = f64::from(logit).exp() / total;
                    let one_hot = if class == label as usize { 1.0 } else { 0.0 };
                    let target = (1.0 - smoothing) * one_hot + smoothing / classes as f64;
                    sum -= target * probability.ln();
                    let expected = (probability - target) / images as f64;
                    let found = f64::from(gradient[image * stride + class]);
                    prop_assert!((found - expected).abs() < 1e-7, "{found} {expected}");
                }
                prop_assert!(gradient[image * stride + classes..][..stride - classes].iter().all(|&v| v == 0.0));
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                correct += u64::from(logits.iter().position(|&logit| logit == largest) == Some(label as usize));
            }
            prop_assert!((loss.sum - sum).abs() < 1e-9 * images as f64, "{} {sum}", loss.sum);
            prop_assert_eq!(loss.correct, correct);
        }
    }

    /// A swallowed NaN would let a diverged job go on.
    #[test]
    fn a_logit_that_is_not_finite_is_never_correct_and_spoils_the_loss() {
        for bad in [f32::NAN, f32::INFINITY] {
            let loss = loss_of(&[bad, 1.0, 2.0], &[0], 0.0);
            assert!(loss.sum.is_nan());
            assert_eq!(loss.correct, 0);
        }
        let loss = loss_of(&[f32::NAN; 3], &[0], 0.0);
        assert!(loss.sum.is_nan() && loss.correct == 0);
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        assert_eq!(loss_of(&[1.0, 1.0, 0.0], &[0], 0.0).correct, 1);
        assert_eq!(loss_of(&[1.0, 1.0, 0.0], &[1], 0.0).correct, 0);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut gradient = [f32::NAN; 16];
        let mut logits = [0.0; 16];
        logits[..2].copy_from_slice(&[3e38, -3e38]);
        let loss = SoftmaxCrossEntropy::new(2, 0.0).run(&logits, &[1], Some(&mut gradient));
        assert!(loss.sum.is_finite() && loss.sum > 1e38);
        assert_eq!(gradient[..3], [1.0, -1.0, 0.0]);
    }

    /// These bits are part of every job's result, on every CPU.
    #[test]
    fn loss_and_gradient_are_pinned() {
        let logits: Vec<f32> = (0..32).map(|i| ((i * 37) % 23) as f32 / 7.0 - 1.5).collect();
        let mut gradient = [0.0; 32];
        let loss = SoftmaxCrossEntropy::new(16, 0.1).run(&logits, &[3, 9], Some(&mut gradient));
        let hash = gradient.iter().fold(0_u64, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
        });
        assert_eq!(loss.correct, 0);
        assert_eq!((loss.sum.to_bits(), hash), (4_618_512_830_025_444_528, 6_648_309_725_084_718_378));
    }
}
