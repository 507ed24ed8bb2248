//! `spec.model`.

use lockstep_crds::spec::ModelPreset;
use serde_json::{Value, json};

use crate::refused;

#[test]
fn a_model_is_exactly_one_of_preset_and_layers() {
    refused(json!({"model": {"preset": null}}), "model", "exactly one");
    refused(json!({"model": {"layers": [{"type": "Dense", "dense": {"units": 2}}]}}), "model", "exactly one");
}

#[test]
fn a_layer_has_the_member_of_its_type_and_no_other() {
    let model = |layer: Value| json!({"model": {"preset": null, "layers": [layer, {"type": "Dense", "dense": {"units": 2}}]}});
    refused(model(json!({"type": "Conv2D"})), "model.layers[0].conv2D", "must be set");
    refused(model(json!({"type": "Dropout"})), "model.layers[0].dropout", "must be set");
    refused(
        model(json!({"type": "ReLU", "dropout": {"rate": 0.5}})),
        "model.layers[0].dropout",
        "only be set for type Dropout",
    );
}

#[test]
fn layers_out_of_range_are_refused() {
    let model = |layer: Value| json!({"model": {"preset": null, "layers": [layer, {"type": "Dense", "dense": {"units": 2}}]}});
    let conv = |filters: u32, size: u32| {
        model(json!({"type": "Conv2D", "conv2D": {"filters": filters, "kernelSize": size}}))
    };
    refused(conv(8, 4), "model.layers[0].conv2D.kernelSize", "odd");
    refused(conv(0, 3), "model.layers[0].conv2D.filters", "between 1");
    refused(
        model(json!({"type": "Dropout", "dropout": {"rate": 1.0}})),
        "model.layers[0].dropout.rate",
        "below 1",
    );
    refused(
        model(json!({"type": "BatchNorm", "batchNorm": {"epsilon": 0.0}})),
        "model.layers[0].batchNorm.epsilon",
        "positive",
    );
    refused(
        model(json!({"type": "MaxPool2D", "maxPool2D": {"size": 1}})),
        "model.layers[0].maxPool2D.size",
        "between 2",
    );
    refused(
        json!({"model": {"preset": null, "layers": [{"type": "ReLU"}]}}),
        "model.layers",
        "last layer must be Dense",
    );
    refused(json!({"model": {"preset": null, "layers": []}}), "model.layers", "between 1 and 128");
}

#[test]
fn presets_are_named_in_json() {
    assert_eq!(serde_json::to_value(ModelPreset::TwoBlock).unwrap(), json!("TwoBlock"));
}
