//! Real PyTorch, from PyPI, loads our weights into the same architecture written in plain PyTorch and computes the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lockstep_nn::{Layer, Model, Shape, TaskKind, TensorInfo, Weights, two_block};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::support::{engine, images, leaf, model, uneven_weights};

const IMAGES: usize = 16;

/// The environment, as `scripts/python-env.sh pytorch` prints it; a CI run without it fails.
fn environment() -> Option<PathBuf> {
    let folder = std::env::var_os("LOCKSTEP_PYTORCH_ENV").map(PathBuf::from);
    if folder.is_none() {
        let message =
            "LOCKSTEP_PYTORCH_ENV names no PyTorch environment (scripts/python-env.sh pytorch makes one)";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        println!("skipped: {message}");
    }
    folder
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn write_weights(model: &Model, weights: &Weights, path: &Path) {
    let of = |tensors: &[TensorInfo], values: &[f32]| -> Vec<_> {
        let bytes = |tensor: &TensorInfo| little_endian(&values[tensor.range()]);
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor.dims.clone(), bytes(tensor))).collect()
    };
    let mut tensors = of(model.parameters(), &weights.parameters);
    tensors.extend(of(model.running_statistics(), &weights.running));
    let views = tensors
        .iter()
        .map(|(name, dims, bytes)| (name.clone(), TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn write_images(pixels: &[u8], labels: &[u32], shape: Shape, path: &Path) {
    let labels: Vec<u8> = labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect();
    let dims = vec![IMAGES, shape.height, shape.width, shape.channels];
    let views = [
        ("pixels", TensorView::new(Dtype::U8, dims, pixels).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![IMAGES], &labels).unwrap()),
    ];
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn read(path: &Path) -> HashMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: TensorView<'_>| {
        view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    file.tensors().into_iter().map(|(name, view)| (name, values(view))).collect()
}

/// `relative`: to the largest of their values, since sums whose terms cancel are as inexact as those that do not.
fn assert_close(name: &str, ours: &[f32], theirs: &[f32], relative: f32, absolute: f32) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let largest = theirs.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let bound = relative * largest + absolute;
    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= bound, "{name}[{index}]: {ours} for PyTorch's {theirs}");
    }
}

#[test]
fn pytorch_gives_the_same_logits_loss_and_gradients() {
    let Some(environment) = environment() else { return };
    let shape = Shape { height: 32, width: 32, channels: 3 };
    let without_dropout =
        |layer| if let Layer::Dropout { .. } = layer { Layer::Dropout { rate: 0.0 } } else { layer };
    let model = model(shape, 10, &two_block(10).into_iter().map(without_dropout).collect::<Vec<_>>());
    let weights = Arc::new(uneven_weights(&model, 2));
    let (pixels, labels) = images(&model, IMAGES, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_weights(&model, &weights, &path("weights.safetensors"));
    write_images(&pixels, &labels, shape, &path("images.safetensors"));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/parity.py");
    let status = Command::new(environment.join("bin/python"))
        .arg(script)
        .args(["weights", "images", "results"].map(|name| path(&format!("{name}.safetensors"))))
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("OMP_NUM_THREADS", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let theirs = read(&path("results.safetensors"));

    let engine = engine(&model, 1, 0.0);
    let logits = engine.logits(Arc::clone(&weights), pixels.clone()).unwrap();
    // What the users are promised; measured: see the printed line.
    assert_close("logits", &logits, &theirs["logits"], 0.0, 1e-4);
    let ours = leaf(&engine, TaskKind::Train { step: 0 }, &weights, 0, (pixels, labels)).unwrap();
    let loss = [*ours.vector.last().unwrap()];
    assert_close("loss", &loss, &theirs["loss"], 1e-6, 0.0);
    for tensor in model.parameters() {
        // Both sum up to 16384 f32 terms a value, in orders of their own.
        let theirs = &theirs[&format!("gradient.{}", tensor.name)];
        assert_close(&tensor.name, &ours.vector[tensor.range()], theirs, 1e-4, 1e-6);
    }
    for tensor in model.running_statistics() {
        let range = model.parameter_len() + tensor.offset..model.parameter_len() + tensor.range().end;
        let theirs = &theirs[&format!("batch.{}", tensor.name)];
        assert_close(&tensor.name, &ours.vector[range], theirs, 1e-5, 1e-6);
    }
    let largest = |ours: &[f32], theirs: &[f32]| {
        ours.iter().zip(theirs).fold(0.0_f32, |largest, (ours, theirs)| largest.max((ours - theirs).abs()))
    };
    for tensor in model.parameters() {
        let (ours, theirs) = (&ours.vector[tensor.range()], &theirs[&format!("gradient.{}", tensor.name)]);
        println!("largest difference of a gradient of {}: {:e}", tensor.name, largest(ours, theirs));
    }
    println!("largest difference of a logit: {:e}", largest(&logits, &theirs["logits"]));
}
