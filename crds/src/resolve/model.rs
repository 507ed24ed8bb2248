//! Rules and defaults of the network.

use super::{Report, defaults::*};
use crate::{
    resolved::{ResolvedLayer, ResolvedModel},
    spec::{
        BatchNorm, Conv2D, Dense, Dropout, Layer, LayerType, Model, ModelPreset, Residual, ResidualLayer,
        ResidualLayerType,
    },
};

/// Resolves the network; where a rule is broken, the value returned only serves to find more violations.
pub(super) fn resolve(model: &Model, report: &mut Report) -> ResolvedModel {
    let Model { preset, layers, initial_weights } = model;
    if initial_weights.is_some() {
        report.not_built(
            "model.initialWeights",
            "starting from given weights",
            "remove it to start from random weights",
        );
    }
    match (preset, layers) {
        (Some(preset), None) => ResolvedModel::Preset(*preset),
        (None, Some(layers)) => resolve_layers(layers, report),
        (Some(_), Some(_)) | (None, None) => {
            report.add("model", "needs exactly one of preset and layers");
            ResolvedModel::Preset(ModelPreset::TwoBlock)
        }
    }
}

fn resolve_layers(layers: &[Layer], report: &mut Report) -> ResolvedModel {
    if layers.is_empty() || layers.len() > 128 {
        report.add("model.layers", format!("{} layers are not between 1 and 128", layers.len()));
    }
    if layers.last().is_some_and(|layer| layer.kind != LayerType::Dense) {
        report.add(
            "model.layers",
            "the last layer must be Dense with one unit per class; softmax is part of the loss",
        );
    }
    let resolved = layers
        .iter()
        .enumerate()
        .filter_map(|(index, layer)| resolve_layer(&format!("model.layers[{index}]"), layer, report))
        .collect();
    ResolvedModel::Layers(resolved)
}

fn resolve_layer(path: &str, layer: &Layer, report: &mut Report) -> Option<ResolvedLayer> {
    let Layer { kind, conv2d, batch_norm, max_pool2d, average_pool2d, dropout, dense, residual } = layer;
    for (member, given, owner, needed) in [
        ("conv2D", conv2d.is_some(), LayerType::Conv2D, true),
        ("batchNorm", batch_norm.is_some(), LayerType::BatchNorm, false),
        ("maxPool2D", max_pool2d.is_some(), LayerType::MaxPool2D, false),
        ("averagePool2D", average_pool2d.is_some(), LayerType::AveragePool2D, false),
        ("dropout", dropout.is_some(), LayerType::Dropout, true),
        ("dense", dense.is_some(), LayerType::Dense, true),
        ("residual", residual.is_some(), LayerType::Residual, true),
    ] {
        if given && *kind != owner {
            report
                .add(format!("{path}.{member}"), format!("may only be set for type {owner:?}, not {kind:?}"));
        }
        if !given && needed && *kind == owner {
            report.add(format!("{path}.{member}"), format!("must be set for type {owner:?}"));
        }
    }
    Some(match kind {
        LayerType::Conv2D => {
            let Conv2D { filters, kernel_size } = conv2d.as_ref()?;
            if kernel_size % 2 == 0 {
                report.add(
                    format!("{path}.conv2D.kernelSize"),
                    format!("{kernel_size} is even; \"same\" padding needs an odd size"),
                );
            }
            ResolvedLayer::Conv2D {
                filters: report.range(&format!("{path}.conv2D.filters"), *filters, 1, 4096),
                kernel_size: report.range(&format!("{path}.conv2D.kernelSize"), *kernel_size, 1, 31),
            }
        }
        LayerType::ReLU => ResolvedLayer::ReLU,
        LayerType::BatchNorm => {
            let BatchNorm { momentum, epsilon } = batch_norm.clone().unwrap_or_default();
            let epsilon = epsilon.unwrap_or(BATCH_NORM_EPSILON);
            if epsilon == 0.0 {
                report.add(
                    format!("{path}.batchNorm.epsilon"),
                    "must be positive, or a constant channel divides by zero",
                );
            }
            ResolvedLayer::BatchNorm {
                momentum: report.range(
                    &format!("{path}.batchNorm.momentum"),
                    momentum.unwrap_or(BATCH_NORM_MOMENTUM),
                    0.0,
                    1.0,
                ),
                epsilon: report.range(&format!("{path}.batchNorm.epsilon"), epsilon, 0.0, 1.0),
            }
        }
        LayerType::MaxPool2D => {
            let size = max_pool2d.as_ref().and_then(|pool| pool.size).unwrap_or(MAX_POOL_SIZE);
            ResolvedLayer::MaxPool2D { size: report.range(&format!("{path}.maxPool2D.size"), size, 2, 16) }
        }
        LayerType::AveragePool2D => {
            let size = average_pool2d.as_ref().and_then(|pool| pool.size).unwrap_or(AVERAGE_POOL_SIZE);
            ResolvedLayer::AveragePool2D {
                size: report.range(&format!("{path}.averagePool2D.size"), size, 2, 16),
            }
        }
        LayerType::GlobalAveragePool2D => ResolvedLayer::GlobalAveragePool2D,
        LayerType::Residual => {
            let Residual { layers } = residual.as_ref()?;
            let path = format!("{path}.residual.layers");
            if layers.is_empty() || layers.len() > 16 {
                report.add(&path, format!("{} layers are not between 1 and 16", layers.len()));
            }
            let inside = layers.iter().enumerate();
            let layers = inside
                .filter_map(|(index, layer)| {
                    resolve_layer(&format!("{path}[{index}]"), &outside(layer), report)
                })
                .collect();
            ResolvedLayer::Residual { layers }
        }
        LayerType::Dropout => {
            let Dropout { rate } = dropout.as_ref()?;
            if !(*rate >= 0.0 && *rate < 1.0) {
                report.add(format!("{path}.dropout.rate"), format!("{rate} is not at least 0 and below 1"));
            }
            ResolvedLayer::Dropout { rate: *rate }
        }
        LayerType::Flatten => ResolvedLayer::Flatten,
        LayerType::Dense => {
            let Dense { units } = dense.as_ref()?;
            ResolvedLayer::Dense { units: report.range(&format!("{path}.dense.units"), *units, 1, 65_536) }
        }
    })
}

/// The same layer as it would be written outside of a residual block.
fn outside(layer: &ResidualLayer) -> Layer {
    let ResidualLayer { kind, conv2d, batch_norm, dropout } = layer.clone();
    let kind = match kind {
        ResidualLayerType::Conv2D => LayerType::Conv2D,
        ResidualLayerType::ReLU => LayerType::ReLU,
        ResidualLayerType::BatchNorm => LayerType::BatchNorm,
        ResidualLayerType::Dropout => LayerType::Dropout,
    };
    Layer {
        kind,
        conv2d,
        batch_norm,
        max_pool2d: None,
        average_pool2d: None,
        dropout,
        dense: None,
        residual: None,
    }
}
