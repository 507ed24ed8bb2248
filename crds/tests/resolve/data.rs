//! `spec.data`.

use lockstep_crds::{
    ResolvedJob, canonical,
    resolved::{ResolvedClasses, ResolvedFormat},
    spec::{ImageEncoding, ImageLayout, LayoutCheck},
};
use serde_json::{Value, json};

use crate::{accepted, refused};

#[test]
fn cache_sizes_are_quantities_of_bytes() {
    assert_eq!(accepted(json!({"data": {"cacheSize": "1Gi"}})).data.cache_bytes, 1 << 30);
    assert_eq!(accepted(json!({"data": {"cacheSize": 1_048_576}})).data.cache_bytes, 1 << 20);
    refused(json!({"data": {"cacheSize": "lots"}}), "data.cacheSize", "512Mi");
    refused(json!({"data": {"cacheSize": "10k"}}), "data.cacheSize", "1Mi");
}

#[test]
fn validation_is_exactly_one_of_fraction_and_uri() {
    refused(json!({"data": {"validation": {}}}), "data.validation", "exactly one");
    refused(json!({"data": {"validation": {"fraction": 0.6}}}), "data.validation.fraction", "0.5");
    refused(json!({"data": {"validation": {"uri": "file:///v"}}}), "data.validation.uri", "not built yet");
    assert!(!accepted(json!({"data": {"validation": {"fraction": 0.0}}})).checkpoint.keep_best);
}

#[test]
fn what_needs_validation_data_says_so() {
    let none = json!({"validation": {"fraction": 0.0}});
    refused(
        json!({"data": none, "training": {"earlyStopping": {"patience": 1}}}),
        "training.earlyStopping",
        "validation",
    );
    refused(json!({"data": none, "checkpoint": {"keepBest": true}}), "checkpoint.keepBest", "validation");
}

#[test]
fn shuffle_windows_hold_at_least_a_block() {
    refused(
        json!({"data": {"shuffle": {"blockRecords": 512, "windowRecords": 256}}}),
        "data.shuffle.windowRecords",
        "512",
    );
    refused(json!({"data": {"shuffle": {"blockRecords": 0}}}), "data.shuffle.blockRecords", "between 1");
}

#[test]
fn features_must_differ() {
    refused(json!({"data": {"features": {"image": "label"}}}), "data.features", "must differ");
}

fn format(changes: Value) -> Value {
    let mut format = json!({"encoding": "Raw", "height": 32, "width": 30, "channels": 3, "classes": 10});
    format.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    format.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({"data": {"format": format}})
}

#[test]
fn a_format_says_what_records_hold_and_stays_out_of_the_result() {
    let plain = accepted(json!({}));
    assert!(!canonical::to_string(&plain).unwrap().contains("layoutCheck"));
    let job = accepted(format(json!({"layout": "CHW"})));
    let classes = ResolvedClasses::Count(10);
    let expected = ResolvedFormat {
        encoding: ImageEncoding::Raw,
        layout: ImageLayout::CHW,
        height: 32,
        width: 30,
        channels: 3,
        classes,
    };
    assert_eq!(job.data.format, Some(expected));
    assert_eq!(job.result, plain.result);
    let names = ["cat", "dog"].map(str::to_owned).to_vec();
    let job = accepted(format(json!({"encoding": "Png", "classes": null, "classNames": names})));
    let found = job.data.format.as_ref().unwrap();
    assert_eq!((&found.layout, &found.classes), (&ImageLayout::HWC, &ResolvedClasses::Names(names)));
    assert_eq!(serde_json::from_str::<ResolvedJob>(&canonical::to_string(&job).unwrap()).unwrap(), job);
    assert_eq!(accepted(json!({"data": {"layoutCheck": "Warn"}})).data.layout_check, LayoutCheck::Warn);
}

#[test]
fn a_format_that_cannot_be_is_refused() {
    for (changes, field, word) in [
        (json!({"encoding": "Png", "layout": "HWC"}), "data.format.layout", "only be set for encoding Raw"),
        (json!({"encoding": "Jpeg", "channels": 4}), "data.format.channels", "neither 1 nor 3"),
        (json!({"height": 0}), "data.format.height", "between 1"),
        (json!({"width": 5000}), "data.format.width", "between 1"),
        (json!({"channels": 17}), "data.format.channels", "between 1"),
        (json!({"classes": 1}), "data.format.classes", "between 2"),
        (json!({"classes": null}), "data.format", "exactly one"),
        (json!({"classNames": ["a", "b"]}), "data.format", "exactly one"),
        (json!({"classes": null, "classNames": ["a"]}), "data.format.classNames", "must be 2 to"),
        (json!({"classes": null, "classNames": ["a", "a"]}), "data.format.classNames[1]", "twice"),
        (json!({"classes": null, "classNames": ["a", ""]}), "data.format.classNames[1]", "must have 1"),
    ] {
        refused(format(changes), field, word);
    }
}

#[test]
fn a_pattern_names_shards_only_with_a_format_and_only_at_the_end() {
    let at = |uri: &str| json!({"data": {"training": {"uri": uri}}});
    refused(at("file:///data/train-*"), "data.training.uri", "needs data.format");
    refused(at("file:///*/train"), "data.training.uri", "only the last part");
    let mut job = format(json!({}));
    job["data"]["training"] = json!({"uri": "file:///data/train-*"});
    assert_eq!(accepted(job).data.training_uri, "file:///data/train-*");
}
