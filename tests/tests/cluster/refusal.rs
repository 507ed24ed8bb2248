//! What cannot run is refused, at once and with words that help; nothing is ignored.

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::namespace::with_namespace;
use serde_json::{Value, json};

use crate::job::{self, Job, SOON, condition, phase};
use crate::world::World;

/// (path to a field, its value or null to remove it, what the message must hold)
type Case = (&'static str, Value, &'static [&'static str]);

pub(crate) fn the_api_server_refuses_what_cannot_run_and_names_the_field(world: &World) -> Result<()> {
    world.product()?;
    let cases: Vec<Case> = vec![
        ("/spec/executors", json!(0), &["executors", "runPolicy.suspend"]),
        ("/spec/executors", json!(9), &["executors", "globalBatchSize"]),
        ("/spec/elastic", json!({"minExecutors": 3}), &["minExecutors"]),
        ("/spec/training/globalBatchSize", json!(100), &["globalBatchSize", "microBatchSize"]),
        ("/spec/training/optimizer", json!({"type": "Adam", "sgd": {}}), &["optimizer"]),
        ("/spec/training/optimizer/adam/learningRate", json!(-0.1), &["learningRate"]),
        ("/spec/model", json!({}), &["model"]),
        ("/spec/data/validation/fraction", json!(1.5), &["fraction"]),
        ("/spec/checkpoint/uri", json!("ftp://host/checkpoints"), &["checkpoint.uri", "file:///"]),
        (
            "/spec/checkpoint/uri",
            json!("hdfs://user:secret@host/checkpoints"),
            &["checkpoint.uri", "passwords"],
        ),
        ("/spec/checkpoint", Value::Null, &["checkpoint"]),
        ("/metadata/name", json!("c".repeat(58)), &["name"]),
        ("/metadata/name", json!("7cifar"), &["name"]),
    ];
    with_namespace(&world.cluster, "refused", |kubectl| {
        // Otherwise everything would be refused, for whatever is wrong with the example.
        kubectl
            .run_with_input(&["create", "--dry-run=server", "--filename=-"], &job::manifest()?.to_string())?;
        for (field, value, words) in &cases {
            let mut job = job::manifest()?;
            set(&mut job, field, value.clone())?;
            let refusal = kubectl.refusal(&job)?;
            for word in *words {
                ensure!(refusal.contains(word), "{field} = {value}: {word:?} is not in {refusal:?}");
            }
        }
        Ok(())
    })
}

/// A spec from the future must not train something else.
pub(crate) fn what_is_not_built_yet_fails_and_names_the_field(world: &World) -> Result<()> {
    world.product()?;
    let cases: Vec<Case> = vec![
        (
            "/spec/data/validation",
            json!({"uri": "file:///data/validation"}),
            &["data.validation.uri", "not built yet"],
        ),
        (
            "/spec/training/numerics",
            json!({"precision": "BFloat16"}),
            &["training.numerics.precision", "not built yet"],
        ),
        (
            "/spec/tracking",
            json!({"mlflow": {"trackingUri": "http://mlflow:5000"}}),
            &["tracking.mlflow", "not built yet"],
        ),
    ];
    with_namespace(&world.cluster, "not-built", |kubectl| {
        for (number, (field, value, words)) in cases.iter().enumerate() {
            let mut manifest = job::manifest()?;
            set(&mut manifest, field, value.clone())?;
            let name = format!("case-{number}");
            set(&mut manifest, "/metadata/name", json!(name))?;
            kubectl.apply(&manifest)?;
            let job = Job::named(kubectl, &name);
            let failed = job.until("failure", SOON, |job| phase(job) == "Failed")?;
            let (status, message) = condition(&failed, "Failed").context("no condition Failed")?;
            ensure!(status == "True", "{failed}");
            for word in *words {
                ensure!(message.contains(word), "{field} = {value}: {word:?} is not in {message:?}");
            }
            ensure!(kubectl.get("job.batch", &name)?.is_none(), "it was started nevertheless");
        }
        Ok(())
    })
}

/// Sets the field at a JSON pointer, or removes it.
fn set(object: &mut Value, pointer: &str, value: Value) -> Result<()> {
    let (parent, field) = pointer.rsplit_once('/').context("no pointer")?;
    let parent =
        object.pointer_mut(parent).and_then(Value::as_object_mut).with_context(|| format!("no {parent}"))?;
    match value {
        Value::Null => parent.remove(field).map(drop).with_context(|| format!("no {pointer}")),
        value => {
            parent.insert(field.to_owned(), value);
            Ok(())
        }
    }
}
