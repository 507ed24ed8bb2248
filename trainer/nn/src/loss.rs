//! Softmax cross-entropy over the logits, with its gradient, in f64 and with `libm`: the same bits on every CPU.

/// Loss of a micro-batch, as a sum over its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Loss {
    /// Sum of the images' losses.
    pub(crate) sum: f64,
    /// Images whose largest logit (the first of equals) is the label's.
    pub(crate) correct: u64,
}

/// The loss against targets `(1 - smoothing) * one_hot(label) + smoothing / classes`.
///
/// `logits`: `[images, classes]`; `labels` below `classes`. With `gradient`, which has the logits' size, writes the
/// gradient of the *mean* loss: `(softmax - target) / images`. A logit that is not finite makes the loss NaN.
pub(crate) fn softmax_cross_entropy(
    logits: &[f32],
    labels: &[u32],
    smoothing: f64,
    mut gradient: Option<&mut [f32]>,
) -> Loss {
    let classes = logits.len() / labels.len().max(1);
    let mut loss = Loss { sum: 0.0, correct: 0 };
    let mut exponentials = vec![0.0; classes];
    for (image, (logits, &label)) in logits.chunks_exact(classes.max(1)).zip(labels).enumerate() {
        let label = label as usize;
        let (mut largest, mut best) = (f32::NEG_INFINITY, 0);
        for (class, &logit) in logits.iter().enumerate() {
            if logit > largest {
                (largest, best) = (logit, class);
            }
        }
        let (mut sum, mut shifted_sum) = (0.0, 0.0);
        for (exponential, &logit) in exponentials.iter_mut().zip(logits) {
            let shifted = f64::from(logit) - f64::from(largest);
            *exponential = libm::exp(shifted);
            sum += *exponential;
            shifted_sum += shifted;
        }
        // -sum(target * log_softmax), log_softmax = shifted - log(sum), targets summing to 1.
        let shifted_label = f64::from(logits[label]) - f64::from(largest);
        let uniform = smoothing / classes as f64;
        let smoothed = if smoothing == 0.0 { 0.0 } else { uniform * shifted_sum };
        loss.sum += libm::log(sum) - (1.0 - smoothing) * shifted_label - smoothed;
        loss.correct += u64::from(best == label && !sum.is_nan());
        if let Some(gradient) = &mut gradient {
            let gradient = &mut gradient[image * classes..][..classes];
            for (class, (gradient, exponential)) in gradient.iter_mut().zip(&exponentials).enumerate() {
                let target = uniform + if class == label { 1.0 - smoothing } else { 0.0 };
                *gradient = ((exponential / sum - target) / labels.len() as f64) as f32;
            }
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Device, Kind, Tensor};

    use super::*;

    proptest! {
        /// libtorch's own loss and autograd in f64 as the reference; ours is computed in f64 and rounded once.
        #[test]
        fn loss_and_gradient_are_libtorchs(
            (logits, labels, smoothing) in (1_usize..6, 2_usize..12).prop_flat_map(|(images, classes)| (
                prop::collection::vec(-20.0_f32..20.0, images * classes),
                prop::collection::vec(0..classes as u32, images),
                prop_oneof![Just(0.0), 0.0..0.9],
            ))
        ) {
            let (images, classes) = (labels.len(), logits.len() / labels.len());
            let mut gradient = vec![f32::NAN; logits.len()];
            let loss = softmax_cross_entropy(&logits, &labels, smoothing, Some(&mut gradient));

            let input = Tensor::from_slice(&logits).to_kind(Kind::Double).view([images as i64, classes as i64])
                .set_requires_grad(true);
            let targets = Tensor::from_slice(&labels.iter().map(|&label| i64::from(label)).collect::<Vec<_>>());
            let mean = input.cross_entropy_loss::<Tensor>(&targets, None, tch::Reduction::Mean, -100, smoothing);
            mean.backward();
            prop_assert!((loss.sum / images as f64 - mean.double_value(&[])).abs() < 1e-9);
            let reference = Vec::<f64>::try_from(input.grad().view(-1)).unwrap();
            for (ours, reference) in gradient.iter().zip(reference) {
                prop_assert!((f64::from(*ours) - reference).abs() < 1e-7);
            }
            let best = Tensor::from_slice(&logits).view([images as i64, classes as i64]).argmax(1, false);
            let correct = best.eq_tensor(&targets.to_device(Device::Cpu)).sum(Kind::Int64).int64_value(&[]);
            prop_assert_eq!(loss.correct, correct as u64);
        }
    }

    /// A swallowed NaN would let a diverged job go on.
    #[test]
    fn a_logit_that_is_not_finite_is_never_correct_and_spoils_the_loss() {
        for bad in [f32::NAN, f32::INFINITY] {
            let loss = softmax_cross_entropy(&[bad, 1.0, 2.0], &[0], 0.0, None);
            assert!(loss.sum.is_nan());
            assert_eq!(loss.correct, 0);
        }
        let loss = softmax_cross_entropy(&[f32::NAN; 3], &[0], 0.0, None);
        assert!(loss.sum.is_nan() && loss.correct == 0);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut gradient = [0.0; 2];
        let loss = softmax_cross_entropy(&[3e38, -3e38], &[1], 0.0, Some(&mut gradient));
        assert!(loss.sum.is_finite() && loss.sum > 1e38);
        assert_eq!(gradient, [1.0, -1.0]);
    }
}
