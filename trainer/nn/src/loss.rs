//! Softmax cross-entropy over the logits, with its gradient, in f64 and with `libm`: the same bits on every CPU.

/// Loss of a micro-batch, as a sum over its images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Sum of the images' losses.
    pub sum: f64,
    /// Images whose largest logit (the first of equals) is the label's.
    pub correct: u64,
}

/// The loss against targets `(1 - smoothing) * one_hot(label) + smoothing / classes`.
///
/// `logits`: `[images, classes]`; `labels` below `classes`. With `gradient`, which has the logits' size, writes the
/// gradient of the *mean* loss: `(softmax - target) / images`. A logit that is not finite makes the loss NaN.
pub fn softmax_cross_entropy(
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
    use super::*;

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
