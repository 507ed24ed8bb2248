//! Manifests in, violations out: one test per rule.
#![allow(clippy::unwrap_used)]

use lockstep_crds::{CnnTrainingJobSpec, ResolvedJob, Violation, canonical, resolve, resolved::*, spec::*};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The shortest manifest: the three things that have no default.
fn shortest() -> Value {
    json!({
        "model": {"preset": "TwoBlock"},
        "data": {"training": {"uri": "file:///data/train"}},
        "checkpoint": {"uri": "file:///data/checkpoints"},
    })
}

/// `shortest` with the members of `changes` merged in (null removes).
fn with(changes: &Value) -> CnnTrainingJobSpec {
    fn merge(into: &mut Value, changes: &Value) {
        match (into, changes) {
            (Value::Object(into), Value::Object(changes)) => {
                for (key, change) in changes {
                    if change.is_null() {
                        into.remove(key);
                    } else {
                        merge(into.entry(key.clone()).or_insert(json!({})), change);
                    }
                }
            }
            (into, changes) => *into = changes.clone(),
        }
    }
    let mut spec = shortest();
    merge(&mut spec, changes);
    serde_json::from_value(spec).unwrap()
}

fn accepted(changes: Value) -> ResolvedJob {
    resolve(&with(&changes)).unwrap_or_else(|violations| panic!("{changes} is refused: {violations:?}"))
}

/// Exactly one violation, of `field`, that says `word`.
fn refused(changes: Value, field: &str, word: &str) {
    let violations = resolve(&with(&changes)).err().unwrap_or_else(|| panic!("{changes} is accepted"));
    let [Violation { field: found, message }] = violations.as_slice() else {
        panic!("{changes} should break one rule: {violations:?}")
    };
    assert_eq!(found, field, "{message}");
    assert!(message.contains(word), "{message:?} does not say {word:?}");
}

#[test]
fn the_shortest_manifest_resolves_to_the_documented_defaults() {
    let job = accepted(json!({}));
    let expected = json!({
        "executors": 1,
        "threadsPerExecutor": 1,
        "elastic": {"minExecutors": 1, "joinGraceSeconds": 60, "heartbeatTimeoutSeconds": 5, "startTimeoutSeconds": 600, "assignment": "Measured"},
        "result": {
            "model": {"preset": "TwoBlock"},
            "training": {
                "epochs": 10, "globalBatchSize": 128, "microBatchSize": 16, "seed": 42,
                "optimizer": {"Adam": {"learningRate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}},
                "schedule": "Constant", "warmupSteps": 0, "labelSmoothing": 0.0,
                "kernels": "Native", "precision": "Float32",
            },
            "data": {
                "imageFeature": "image", "labelFeature": "label", "validationFraction": 0.1,
                "blockRecords": 256, "windowRecords": 65536,
            },
        },
        "data": {"trainingUri": "file:///data/train", "cacheBytes": 536_870_912},
        "checkpoint": {"uri": "file:///data/checkpoints", "everySteps": 500, "keep": 3, "keepBest": true},
    });
    assert_eq!(serde_json::to_value(&job).unwrap(), expected);
}

#[test]
fn a_resolved_job_survives_its_own_json() {
    let job = accepted(json!({
        "executors": 2,
        "training": {"earlyStopping": {"patience": 5}, "schedule": {"type": "Cosine", "warmupSteps": 10}},
        "model": {"preset": null, "layers": [
            {"type": "Conv2D", "conv2D": {"filters": 8, "kernelSize": 3}}, {"type": "ReLU"}, {"type": "BatchNorm"},
            {"type": "MaxPool2D"}, {"type": "Dropout", "dropout": {"rate": 0.25}},
            {"type": "Residual", "residual": {"layers": [
                {"type": "Conv2D", "conv2D": {"filters": 8, "kernelSize": 1}}, {"type": "BatchNorm"}, {"type": "ReLU"},
            ]}},
            {"type": "AveragePool2D"}, {"type": "GlobalAveragePool2D"},
            {"type": "Dense", "dense": {"units": 10}},
        ]},
    }));
    let text = canonical::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<ResolvedJob>(&text).unwrap(), job);
    let ResolvedModel::Layers(layers) = &job.result.model else { panic!("{:?}", job.result.model) };
    assert_eq!(layers[0], ResolvedLayer::Conv2D { filters: 8, kernel_size: 3 });
    assert_eq!(layers[2], ResolvedLayer::BatchNorm { momentum: 0.99, epsilon: 0.001 });
    assert_eq!(layers[3], ResolvedLayer::MaxPool2D { size: 2 });
    let inside = vec![
        ResolvedLayer::Conv2D { filters: 8, kernel_size: 1 },
        ResolvedLayer::BatchNorm { momentum: 0.99, epsilon: 0.001 },
        ResolvedLayer::ReLU,
    ];
    assert_eq!(layers[5], ResolvedLayer::Residual { layers: inside });
    assert_eq!(layers[6], ResolvedLayer::AveragePool2D { size: 2 });
    assert_eq!(layers[7], ResolvedLayer::GlobalAveragePool2D);
}

/// A job that is scaled, moved or given other limits must find its own checkpoints.
#[test]
fn what_does_not_determine_the_result_stays_out_of_it() {
    let base = accepted(json!({}));
    for change in [
        json!({"executors": 4}),
        json!({"threadsPerExecutor": 3}),
        json!({"elastic": {"joinGraceSeconds": 1}}),
        json!({"data": {"training": {"uri": "file:///elsewhere"}, "cacheSize": "64Mi"}}),
        json!({"data": {"test": {"uri": "file:///test"}}}),
        json!({"checkpoint": {"uri": "file:///other", "everySteps": 7, "keep": 9, "keepBest": false}}),
        json!({"tracking": {"tensorBoard": {"uri": "file:///runs"}}}),
        json!({"runPolicy": {"suspend": true, "ttlSecondsAfterFinished": 5}}),
        json!({"executorTemplate": {"image": "x", "env": [{"name": "A", "value": "b"}]}}),
    ] {
        assert_eq!(accepted(change.clone()).result, base.result, "{change}");
    }
    for change in [
        json!({"training": {"epochs": 11}}),
        json!({"training": {"seed": 1}}),
        json!({"training": {"microBatchSize": 32}}),
        json!({"training": {"labelSmoothing": 0.1}}),
        json!({"training": {"earlyStopping": {"patience": 5}}}),
        json!({"data": {"shuffle": {"blockRecords": 1}}}),
        json!({"data": {"validation": {"fraction": 0.2}}}),
    ] {
        assert_ne!(accepted(change.clone()).result, base.result, "{change}");
    }
}

#[test]
fn threads_follow_the_cpu_limit_then_the_request() {
    for (resources, threads) in [
        (json!({"limits": {"cpu": "2500m"}, "requests": {"cpu": "4"}}), 2),
        (json!({"requests": {"cpu": 3}}), 3),
        (json!({"limits": {"cpu": "500m"}}), 1),
        (json!({"limits": {"memory": "1Gi"}}), 1),
    ] {
        let job = accepted(json!({"executorTemplate": {"resources": resources}}));
        assert_eq!(job.threads_per_executor, threads, "{resources}");
    }
    let job = accepted(
        json!({"threadsPerExecutor": 5, "executorTemplate": {"resources": {"limits": {"cpu": "2"}}}}),
    );
    assert_eq!(job.threads_per_executor, 5);
}

#[test]
fn zero_executors_are_refused_with_the_right_way_to_stop() {
    refused(json!({"executors": 0}), "executors", "runPolicy.suspend");
}

#[test]
fn more_executors_than_micro_batches_are_refused() {
    refused(json!({"executors": 9}), "executors", "8 micro-batches");
    accepted(json!({"executors": 8}));
}

#[test]
fn more_executors_than_the_maximum_are_refused() {
    let training = json!({"globalBatchSize": 4096, "microBatchSize": 1});
    refused(json!({"executors": 1025, "training": training}), "executors", "1024");
}

#[test]
fn more_minimum_executors_than_executors_are_refused() {
    refused(json!({"executors": 2, "elastic": {"minExecutors": 3}}), "elastic.minExecutors", "executors (2)");
}

#[test]
fn times_out_of_range_are_refused() {
    refused(
        json!({"elastic": {"heartbeatTimeoutSeconds": 0}}),
        "elastic.heartbeatTimeoutSeconds",
        "between 1",
    );
    refused(json!({"elastic": {"startTimeoutSeconds": 0}}), "elastic.startTimeoutSeconds", "between 1");
    refused(json!({"elastic": {"joinGraceSeconds": 100_000}}), "elastic.joinGraceSeconds", "86400");
}

#[test]
fn a_global_batch_must_be_whole_micro_batches() {
    refused(
        json!({"training": {"globalBatchSize": 100, "microBatchSize": 16}}),
        "training.globalBatchSize",
        "multiple of training.microBatchSize (16)",
    );
}

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
fn uris_have_a_known_scheme_and_no_credentials() {
    for (uri, word) in [
        ("/data/train", "not a URI"),
        ("ftp://host/x", "unknown scheme"),
        ("file://host/x", "three slashes"),
        ("file:///a/../b", ".."),
        ("file:///a?b", "must not contain"),
        ("file:///a%20b", "must not contain"),
        ("hdfs://namenode:8020", "names no folder; use hdfs://namenode:8020/path"),
        ("hdfs://namenode/a/../b", ".."),
        ("s3://bucket/", "names no folder; use s3://bucket/path"),
        ("s3:///x", "names no bucket"),
        ("", "1 to 2048"),
    ] {
        refused(json!({"data": {"training": {"uri": uri}}}), "data.training.uri", word);
        refused(json!({"data": {"test": {"uri": uri}}}), "data.test.uri", word);
        refused(json!({"checkpoint": {"uri": uri}}), "checkpoint.uri", word);
        refused(json!({"tracking": {"tensorBoard": {"uri": uri}}}), "tracking.tensorBoard.uri", word);
    }
    let violations = resolve(&with(&json!({"checkpoint": {"uri": "hdfs://me:secret@host/x"}}))).unwrap_err();
    assert!(
        violations.iter().any(|violation| violation.message.contains("user name or password")),
        "{violations:?}"
    );
    assert!(
        violations.iter().all(|violation| !violation.message.contains("secret@")),
        "the password is not repeated"
    );
}

#[test]
fn hdfs_and_s3_are_reached_as_storage_says() {
    let hdfs = json!({"checkpoint": {"uri": "hdfs://namenode:8020/checkpoints"}});
    assert_eq!(accepted(hdfs.clone()).storage.user, None);
    let mut with_user = hdfs.clone();
    with_user["storage"] = json!({"user": "ada", "hadoopConfigMapRef": {"name": "hadoop"}});
    assert_eq!(accepted(with_user).storage.user.as_deref(), Some("ada"));
    accepted(
        json!({"data": {"training": {"uri": "s3://bucket/x"}}, "storage": {"s3SecretRef": {"name": "s"}}}),
    );
    accepted(json!({"data": {"test": {"uri": "hdfs:///x"}}}));
    let mut tracked = json!({"tracking": {"tensorBoard": {"uri": "hdfs://namenode:8020/runs"}}});
    tracked["storage"] = json!({"user": "ada"});
    let uri = accepted(tracked).tracking.tensor_board_uri;
    assert_eq!(uri.as_deref(), Some("hdfs://namenode:8020/runs"));

    let mut kerberos = hdfs;
    kerberos["storage"] = json!({"kerberosSecretRef": {"name": "k"}});
    refused(kerberos, "storage.kerberosSecretRef", "hadoopConfigMapRef");
}

#[test]
fn storage_that_no_uri_uses_is_refused() {
    for (storage, field) in [
        (json!({"hadoopConfigMapRef": {"name": "h"}}), "storage.hadoopConfigMapRef"),
        (json!({"user": "u"}), "storage.user"),
        (json!({"s3SecretRef": {"name": "s"}}), "storage.s3SecretRef"),
    ] {
        refused(json!({"storage": storage}), field, "no URI of the job begins with");
    }
}

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

#[test]
fn optimizers_have_the_member_of_their_type_and_sane_numbers() {
    let optimizer = |optimizer: Value| json!({"training": {"optimizer": optimizer}});
    let sgd = json!({"type": "SGD", "sgd": {"learningRate": 0.1, "momentum": 0.9, "nesterov": true, "weightDecay": 0.0001}});
    assert_eq!(
        accepted(optimizer(sgd)).result.training.optimizer,
        ResolvedOptimizer::Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0001 }
    );
    refused(optimizer(json!({"type": "SGD"})), "training.optimizer.sgd", "must be set");
    refused(
        optimizer(json!({"type": "Adam", "sgd": {"learningRate": 0.1}})),
        "training.optimizer.sgd",
        "only then",
    );
    refused(
        optimizer(json!({"type": "SGD", "sgd": {"learningRate": 0.1}, "adam": {}})),
        "training.optimizer.adam",
        "only be set for type Adam",
    );
    let adam = |adam: Value| optimizer(json!({"type": "Adam", "adam": adam}));
    refused(adam(json!({"learningRate": 0.0})), "training.optimizer.adam.learningRate", "above 0");
    refused(adam(json!({"learningRate": -0.1})), "training.optimizer.adam.learningRate", "above 0");
    refused(adam(json!({"beta1": 1.0})), "training.optimizer.adam.beta1", "below 1");
    refused(adam(json!({"epsilon": 0.0})), "training.optimizer.adam.epsilon", "above 0");
    refused(
        optimizer(json!({"type": "SGD", "sgd": {"learningRate": 0.1, "nesterov": true}})),
        "training.optimizer.sgd.nesterov",
        "momentum",
    );
}

/// YAML knows `.nan` and `.inf`, JSON does not: only `lockstep run` can meet them.
#[test]
fn numbers_must_be_finite() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut spec = with(&json!({"training": {"optimizer": {"type": "Adam", "adam": {}}}}));
        let training = spec.training.as_mut().unwrap();
        training.optimizer.as_mut().unwrap().adam.as_mut().unwrap().learning_rate = Some(value);
        training.label_smoothing = Some(value);
        let violations = resolve(&spec).unwrap_err();
        assert_eq!(violations.len(), 2, "{violations:?}");
    }
}

#[test]
fn schedules_have_the_member_of_their_type() {
    let schedule = |schedule: Value| json!({"training": {"schedule": schedule}});
    refused(
        schedule(json!({"type": "Constant", "cosine": {}})),
        "training.schedule.cosine",
        "only be set for type Cosine",
    );
    refused(schedule(json!({"type": "Piecewise"})), "training.schedule.piecewise", "must be set");
    refused(
        schedule(json!({"type": "OneCycle", "warmupSteps": 5})),
        "training.schedule.warmupSteps",
        "riseFraction",
    );
    refused(
        schedule(json!({"type": "OneCycle", "oneCycle": {"riseFraction": 2.0}})),
        "training.schedule.oneCycle.riseFraction",
        "between",
    );
    let changes = |changes: Value| schedule(json!({"type": "Piecewise", "piecewise": {"changes": changes}}));
    refused(
        changes(json!([{"epoch": 5, "factor": 0.1}, {"epoch": 3, "factor": 0.01}])),
        "training.schedule.piecewise.changes",
        "ascending",
    );
    refused(
        changes(json!([{"epoch": 10, "factor": 0.1}])),
        "training.schedule.piecewise.changes[0].epoch",
        "never take effect",
    );
    assert_eq!(
        accepted(changes(json!([{"epoch": 5, "factor": 0.1}]))).result.training.schedule,
        ResolvedSchedule::Piecewise { changes: vec![(5, 0.1)] }
    );
    let cosine = accepted(schedule(json!({"type": "Cosine", "warmupSteps": 100}))).result.training;
    assert_eq!((cosine.schedule, cosine.warmup_steps), (ResolvedSchedule::Cosine { final_factor: 0.0 }, 100));
}

#[test]
fn training_numbers_out_of_range_are_refused() {
    refused(json!({"training": {"epochs": 0}}), "training.epochs", "between 1");
    refused(json!({"training": {"labelSmoothing": 1.0}}), "training.labelSmoothing", "below 1");
    refused(json!({"training": {"seed": 9_007_199_254_740_992_u64}}), "training.seed", "between 0");
    refused(
        json!({"training": {"earlyStopping": {"patience": 0}}}),
        "training.earlyStopping.patience",
        "between 1",
    );
    refused(json!({"checkpoint": {"everySteps": 0}}), "checkpoint.everySteps", "between 1");
    refused(json!({"checkpoint": {"keep": 0}}), "checkpoint.keep", "between 1");
    refused(json!({"threadsPerExecutor": 0}), "threadsPerExecutor", "between 1");
    refused(
        json!({"runPolicy": {"activeDeadlineSeconds": 0}}),
        "runPolicy.activeDeadlineSeconds",
        "between 1",
    );
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

/// Nothing in a spec is ever ignored: what this version cannot do is refused by name.
#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for (changes, field) in [
        (json!({"model": {"initialWeights": {"uri": "file:///w"}}}), "model.initialWeights"),
        (json!({"training": {"numerics": {"precision": "BFloat16"}}}), "training.numerics.precision"),
        (json!({"tracking": {"mlflow": {"trackingUri": "http://m"}}}), "tracking.mlflow"),
    ] {
        refused(changes, field, "not built yet");
    }
}

/// What changes nothing must not change the result hash, which is made of the resolved job.
#[test]
fn augmentation_enters_the_resolved_job_only_when_it_changes_images() {
    let plain = accepted(json!({}));
    assert!(!canonical::to_string(&plain).unwrap().contains("augmentation"));
    let still = json!({"brightness": 0.0, "contrast": 0, "saturation": 0.0});
    let idle =
        json!({"horizontalFlip": false, "translatePixels": 0, "cutoutPixels": 0, "colorJitter": still});
    assert_eq!(accepted(json!({"training": {"augmentation": idle}})), plain);
    let all = json!({"horizontalFlip": true, "translatePixels": 4, "cutoutPixels": 8});
    for changes in
        [json!({"horizontalFlip": true}), json!({"translatePixels": 1}), json!({"cutoutPixels": 1}), all]
    {
        let job = accepted(json!({"training": {"augmentation": changes}}));
        let resolved = serde_json::to_value(&job).unwrap();
        for (member, value) in changes.as_object().unwrap() {
            assert_eq!(&resolved["result"]["training"]["augmentation"][member], value);
        }
        assert_eq!(serde_json::from_value::<ResolvedJob>(resolved).unwrap(), job);
    }
    let far = json!({"training": {"augmentation": {"translatePixels": 257}}});
    refused(far, "training.augmentation.translatePixels", "between 0");
}

/// A job that augmented before there was a colour jitter keeps its run.
#[test]
fn color_jitter_enters_the_resolved_job_only_when_it_changes_images() {
    let with =
        |jitter: Value| json!({"training": {"augmentation": {"translatePixels": 4, "colorJitter": jitter}}});
    let resolved = |changes| serde_json::to_value(accepted(changes)).unwrap();
    let plain = resolved(json!({"training": {"augmentation": {"translatePixels": 4}}}));
    let members: Vec<_> = plain["result"]["training"]["augmentation"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["cutoutPixels", "horizontalFlip", "translatePixels"]);
    assert_eq!(resolved(with(json!({"brightness": 0.0}))), plain);
    let job = accepted(with(json!({"contrast": 0.4})));
    let jittered = serde_json::to_value(&job).unwrap();
    assert_eq!(
        jittered["result"]["training"]["augmentation"]["colorJitter"],
        json!({"brightness": 0.0, "contrast": 0.4, "saturation": 0.0})
    );
    assert_eq!(serde_json::from_value::<ResolvedJob>(jittered).unwrap(), job);
    for member in ["brightness", "contrast", "saturation"] {
        let field = format!("training.augmentation.colorJitter.{member}");
        refused(with(json!({member: 1.1})), &field, "between 0");
        refused(with(json!({member: -0.1})), &field, "between 0");
    }
}

#[test]
fn pod_parts_are_read_and_misspelt_ones_named() {
    let template = |template: Value| json!({"executorTemplate": template});
    accepted(template(json!({
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "cifar10"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "resources": {"limits": {"cpu": 2, "memory": "2Gi"}},
    })));
    refused(
        template(json!({"tolerations": [{"kee": "spot"}]})),
        "executorTemplate.tolerations[0].kee",
        "unknown field",
    );
    refused(template(json!({"affinity": {"nodeAffinity": 3}})), "executorTemplate.affinity", "invalid type");
    refused(
        template(json!({"volumes": [{"name": "lockstep-job"}]})),
        "executorTemplate.volumes[0].name",
        "Lockstep's own",
    );
    refused(
        template(json!({"env": [{"name": "LOCKSTEP_JOB_UID"}]})),
        "executorTemplate.env[0].name",
        "set by Lockstep",
    );
    refused(
        template(json!({"env": [{"name": "OMP_NUM_THREADS", "value": "4"}]})),
        "executorTemplate.env[0].name",
        "set by Lockstep",
    );
    refused(
        template(json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]})),
        "executorTemplate.volumeMounts[0].name",
        "not in executorTemplate.volumes",
    );
    for path in ["/tmp", "/etc/lockstep/tls/", "/etc/lockstep/job", "/"] {
        refused(
            template(json!({"volumes": [{"name": "v"}], "volumeMounts": [{"name": "v", "mountPath": path}]})),
            "executorTemplate.volumeMounts[0].mountPath",
            "choose another folder",
        );
    }
    refused(
        template(json!({"labels": {"batch.kubernetes.io/job-name": "x"}})),
        "executorTemplate.labels[batch.kubernetes.io/job-name]",
        "remove it",
    );
}

#[test]
fn all_broken_rules_are_reported_at_once_in_order() {
    let violations =
        resolve(&with(&json!({"executors": 0, "training": {"epochs": 0, "globalBatchSize": 100}})))
            .unwrap_err();
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["executors", "training.epochs", "training.globalBatchSize"]);
}

/// The descriptions that `kubectl explain` shows must not drift from the defaults in code.
#[test]
fn documented_defaults_are_the_real_ones() {
    let job = accepted(json!({}));
    let schema = serde_json::to_value(lockstep_crds::definition::crd().unwrap()).unwrap();
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let says = |path: &str, value: &dyn ToString| {
        let pointer = path.split('.').map(|name| format!("/properties/{name}")).collect::<String>();
        let text =
            spec.pointer(&pointer).unwrap_or_else(|| panic!("{path}"))["description"].as_str().unwrap();
        assert!(
            text.contains(&format!("Default {}.", value.to_string())),
            "{path}: {text:?} is not {}",
            value.to_string()
        );
    };
    let ResolvedJob { elastic, result: ResultSpec { training, data, .. }, checkpoint, .. } = &job;
    says("elastic.minExecutors", &elastic.min_executors);
    says("elastic.joinGraceSeconds", &elastic.join_grace_seconds);
    says("elastic.heartbeatTimeoutSeconds", &elastic.heartbeat_timeout_seconds);
    says("elastic.startTimeoutSeconds", &elastic.start_timeout_seconds);
    says("elastic.assignment", &format!("{:?}", elastic.assignment));
    says("training.numerics.kernels", &format!("{:?}", training.kernels));
    says("training.numerics.precision", &format!("{:?}", training.precision));
    says("training.epochs", &training.epochs);
    says("training.globalBatchSize", &training.global_batch_size);
    says("training.microBatchSize", &training.micro_batch_size);
    says("training.seed", &training.seed);
    says("training.labelSmoothing", &training.label_smoothing);
    says("data.shuffle.blockRecords", &data.block_records);
    says("data.shuffle.windowRecords", &data.window_records);
    says("checkpoint.everySteps", &checkpoint.every_steps);
    says("checkpoint.keep", &checkpoint.keep);
    says("runPolicy.backoffLimitPerExecutor", &lockstep_crds::resolve::defaults::BACKOFF_LIMIT_PER_EXECUTOR);
    says(
        "executorTemplate.terminationGracePeriodSeconds",
        &lockstep_crds::resolve::defaults::TERMINATION_GRACE_PERIOD_SECONDS,
    );
    assert_eq!(spec.pointer("/properties/executors/default"), Some(&json!(job.executors)));
}

proptest! {
    /// Whatever the numbers, what is accepted can be divided among the executors without rest.
    #[test]
    fn an_accepted_job_can_run(executors in 0u32..20, min in 0u32..20, global in 0u32..300, micro in 0u32..40) {
        let spec = with(&json!({
            "executors": executors,
            "elastic": {"minExecutors": min},
            "training": {"globalBatchSize": global, "microBatchSize": micro},
        }));
        let possible = micro > 0 && global > 0 && global % micro == 0 && executors >= 1 && min >= 1
            && min <= executors && executors <= global / micro;
        let resolved = resolve(&spec);
        prop_assert_eq!(resolved.is_ok(), possible, "{:?}", resolved);
        if let Ok(job) = resolved {
            prop_assert!(job.result.training.micro_batches() >= job.executors);
        }
    }
}

#[test]
fn presets_are_named_in_json() {
    assert_eq!(serde_json::to_value(ModelPreset::TwoBlock).unwrap(), json!("TwoBlock"));
}
