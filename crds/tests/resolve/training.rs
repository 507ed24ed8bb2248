//! `spec.training`.

use lockstep_crds::{
    ResolvedJob, canonical, resolve,
    resolved::{ResolvedOptimizer, ResolvedSchedule},
};
use serde_json::{Value, json};

use crate::{accepted, refused, with};

#[test]
fn a_global_batch_must_be_whole_micro_batches() {
    refused(
        json!({"training": {"globalBatchSize": 100, "microBatchSize": 16}}),
        "training.globalBatchSize",
        "multiple of training.microBatchSize (16)",
    );
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
