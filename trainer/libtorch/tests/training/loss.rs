//! The loss against libtorch's own.

use lockstep_nn::loss::softmax_cross_entropy;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

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
