//! The job under test: an example as users apply it, with fewer and shorter epochs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_tests::kubectl::Kubectl;
use lockstep_tests::machine;
use lockstep_tests::process::{self, Process};
use lockstep_tests::wait::eventually;
use serde_json::{Value, json};

use crate::world::World;

/// Long enough for faults to strike, pods to come back and progress to be seen, short enough for everyday tests: 592 steps,
/// less than half a minute.
const EPOCHS: u32 = 16;
/// A small batch, so that the few images of the tests' data make enough steps to learn from.
const GLOBAL_BATCH: u32 = 48;
/// Several checkpoints in a run, so that a restart has something to go on from.
const STEPS_PER_CHECKPOINT: u32 = 50;
/// From `kubectl apply` to the result, on two busy cores.
pub(crate) const TRAINING: Duration = Duration::from_secs(420);
/// What needs no training.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// The user that the executors' containers run as.
pub(crate) const USER: u32 = 65532;

/// The example with data and checkpoints on a volume, shortened.
pub(crate) fn manifest() -> Result<Value> {
    example("cifar10.yaml")
}

/// Where one of `examples/` is.
pub(crate) fn example_path(name: &str) -> PathBuf {
    machine::repository().join("examples").join(name)
}

/// One of `examples/`, shortened.
pub(crate) fn example(name: &str) -> Result<Value> {
    let path = example_path(name);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut job: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?;
    job["spec"]["training"]["epochs"] = json!(EPOCHS);
    job["spec"]["training"]["globalBatchSize"] = json!(GLOBAL_BATCH);
    job["spec"]["checkpoint"]["everySteps"] = json!(STEPS_PER_CHECKPOINT);
    // Three executors and the operator must find room on a machine of two cores; they have their limits all the same.
    job["spec"]["executorTemplate"]["resources"]["requests"] = json!({"cpu": "100m", "memory": "256Mi"});
    Ok(job)
}

/// The same job for `lockstep run`: its locations are folders of this machine.
pub(crate) fn on_this_machine(data: &Path, volume: &Path) -> Result<Value> {
    let mut job = manifest()?;
    for (split, folder) in [("training", "train"), ("test", "test")] {
        job["spec"]["data"][split]["uri"] = json!(format!("file://{}", data.join(folder).display()));
    }
    let checkpoints = checkpoints(&job)?;
    job["spec"]["checkpoint"]["uri"] = json!(format!("file://{}", volume.join(checkpoints).display()));
    Ok(job)
}

/// Path of the job's checkpoints in its volume.
fn checkpoints(job: &Value) -> Result<PathBuf> {
    in_volume(job, &job["spec"]["checkpoint"]["uri"])
}

/// Where a location of the job is in its volume.
fn in_volume(job: &Value, uri: &Value) -> Result<PathBuf> {
    let mount =
        job["spec"]["executorTemplate"]["volumeMounts"][0]["mountPath"].as_str().context("no mountPath")?;
    let path = uri
        .as_str()
        .and_then(|uri| uri.strip_prefix("file://"))
        .with_context(|| format!("{uri} is no file"))?;
    let inside =
        Path::new(path).strip_prefix(mount).with_context(|| format!("{path} is not below {mount}"))?;
    Ok(inside.to_owned())
}

/// A job in the cluster.
pub(crate) struct Job<'a> {
    kubectl: &'a Kubectl<'a>,
    /// Its name.
    pub(crate) name: String,
    /// Its checkpoints, as this machine sees them.
    pub(crate) checkpoints: PathBuf,
}

impl<'a> Job<'a> {
    /// Makes the volume, with the data in it and the claim that the example names, then applies the example,
    /// changed by `edit`.
    pub(crate) fn apply(
        world: &World,
        kubectl: &'a Kubectl<'a>,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let mut job = manifest()?;
        edit(&mut job);
        let namespace = kubectl.namespace().context("jobs live in a namespace")?;
        let (volume, on_node) = world.cluster.volume(namespace)?;
        let data = &world.product()?.data;
        for (split, folder) in [("training", "train"), ("test", "test")] {
            let target = volume.join(in_volume(&job, &job["spec"]["data"][split]["uri"])?);
            fs::create_dir_all(target.parent().context("the data's folder is the volume itself")?)?;
            let copied = Command::new("cp")
                .args(["--recursive", "--link"])
                .arg(data.join(folder))
                .arg(&target)
                .status()?;
            ensure!(copied.success(), "failed to copy the data to {}", target.display());
        }
        chown(&volume, Some(USER), Some(USER))?;
        for claim in job["spec"]["executorTemplate"]["volumes"].as_array().into_iter().flatten() {
            if let Some(claim) = claim["persistentVolumeClaim"]["claimName"].as_str() {
                provide(kubectl, namespace, claim, &on_node)?;
            }
        }
        kubectl.apply(&job)?;
        let name = job["metadata"]["name"].as_str().context("the example has no name")?.to_owned();
        Ok(Self { kubectl, checkpoints: volume.join(checkpoints(&job)?), name })
    }

    /// A job that was applied otherwise, and has no volume.
    pub(crate) fn named(kubectl: &'a Kubectl<'a>, name: &str) -> Self {
        Self { kubectl, name: name.to_owned(), checkpoints: PathBuf::new() }
    }

    /// The resource as it is now.
    pub(crate) fn get(&self) -> Result<Value> {
        self.kubectl
            .get("cnntrainingjob", &self.name)?
            .with_context(|| format!("the job {} is gone", self.name))
    }

    /// Awaits a state of the resource; a job that failed meanwhile ends the wait.
    pub(crate) fn until(
        &self,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        eventually(what, deadline, || {
            let job = self.get()?;
            if holds(&job) {
                return Ok(Some(job));
            }
            match job["status"]["phase"].as_str() {
                Some(phase @ ("Failed" | "Succeeded")) => {
                    bail!("{phase} while waiting for {what}: {}", job["status"])
                }
                _ => Ok(None),
            }
        })
    }

    /// Awaits that training has passed a step while it still goes on.
    pub(crate) fn until_step(&self, step: u64) -> Result<Value> {
        self.until(&format!("step {step}"), TRAINING, |job| {
            phase(job) == "Running" && job["status"]["progress"]["step"].as_u64() >= Some(step)
        })
    }

    /// Awaits success and checks everything that must then hold: status, conditions, and the files in the volume.
    pub(crate) fn until_it_succeeded_as(&self, reference: &Value) -> Result<Value> {
        let job = self.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        let (result, wanted) = (&job["status"]["result"], &reference["weightsSha256"]);
        ensure!(wanted.is_string(), "the reference has no weightsSha256: {reference}");
        ensure!(&result["weightsSha256"] == wanted, "other weights than {wanted}: {result}");
        ensure!(
            result["testAccuracy"] == reference["testAccuracy"],
            "another accuracy than {reference}: {result}"
        );
        self.kubectl.run(&[
            "wait",
            "--for=condition=Complete",
            &format!("cnntrainingjob/{}", self.name),
            "--timeout=5s",
        ])?;

        let run = self.run_folder()?;
        let written: Value = serde_json::from_slice(&fs::read(run.join("RESULT.json"))?)?;
        ensure!(&written["weightsSha256"] == wanted, "RESULT.json holds other weights: {written}");
        let uri = reference["modelUri"]
            .as_str()
            .and_then(|uri| uri.strip_prefix("file://"))
            .context("no modelUri")?;
        let checkpoint =
            Path::new(uri).parent().and_then(Path::file_name).context("no checkpoint in modelUri")?;
        for file in ["model.safetensors", "optimizer.safetensors", "MANIFEST.json"] {
            let (ours, theirs) = (run.join(checkpoint).join(file), Path::new(uri).with_file_name(file));
            ensure!(
                fs::read(&ours)? == fs::read(&theirs)?,
                "{} differs from {}",
                ours.display(),
                theirs.display()
            );
        }
        Ok(job)
    }

    /// The one folder below the checkpoint's location: that of the run.
    pub(crate) fn run_folder(&self) -> Result<PathBuf> {
        let entries = fs::read_dir(&self.checkpoints)
            .with_context(|| format!("failed to list {}", self.checkpoints.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        match &entries[..] {
            [run] => Ok(run.clone()),
            _ => bail!("not one run in {}: {entries:?}", self.checkpoints.display()),
        }
    }

    /// The pod of an executor, the newest one if there are several.
    pub(crate) fn pod(&self, index: u32) -> Result<Value> {
        let labels = format!(
            "batch.kubernetes.io/job-name={},batch.kubernetes.io/job-completion-index={index}",
            self.name
        );
        let mut pods = self.kubectl.list("pods", &labels)?;
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().map(str::to_owned));
        pods.pop().with_context(|| format!("executor {index} has no pod"))
    }

    /// The training process of an executor: the child of the process that supervises it.
    pub(crate) fn training_process(&self, index: u32) -> Result<Process> {
        let pod = self.pod(index)?;
        let processes = process::of_pod(pod["metadata"]["uid"].as_str().context("no uid")?)?;
        let child = processes.iter().find(|child| processes.iter().any(|parent| parent.pid == child.parent));
        child.cloned().with_context(|| format!("executor {index} has no supervised process: {processes:?}"))
    }

    /// Awaits an event about the job.
    pub(crate) fn until_event(&self, reason: &str) -> Result<()> {
        eventually(&format!("an event {reason}"), SOON, || {
            Ok(self.events()?.iter().any(|event| event["reason"] == reason).then_some(()))
        })
    }

    /// The events about the job.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        let mut events = self.kubectl.list("events.events.k8s.io", "")?;
        events.retain(|event| {
            event["regarding"]["kind"] == "CnnTrainingJob" && event["regarding"]["name"] == *self.name
        });
        Ok(events)
    }

    /// Suspends it, and waits until no pod is left.
    pub(crate) fn suspend(&self) -> Result<()> {
        self.patch(&json!({"spec": {"runPolicy": {"suspend": true}}}))?;
        self.until("suspension", SOON, |job| phase(job) == "Suspended")?;
        eventually("the pods to leave", SOON, || Ok(self.kubectl.list("pods", "")?.is_empty().then_some(())))
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.patch(&json!({"spec": {"runPolicy": {"suspend": false}}}))
    }

    /// Deletes the pod of an executor without waiting for its end; the pod as it was.
    pub(crate) fn delete_pod(&self, index: u32) -> Result<Value> {
        let pod = self.pod(index)?;
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        self.kubectl.run(&["delete", "pod", name, "--wait=false"])?;
        Ok(pod)
    }

    /// Changes the spec.
    pub(crate) fn patch(&self, patch: &Value) -> Result<()> {
        self.kubectl.run(&[
            "patch",
            "cnntrainingjob",
            &self.name,
            "--type=merge",
            "--patch",
            &patch.to_string(),
        ])?;
        Ok(())
    }
}

pub(crate) fn phase(job: &Value) -> &str {
    job["status"]["phase"].as_str().unwrap_or_default()
}

/// Status ("True", "False") and message of a condition.
pub(crate) fn condition<'a>(job: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = find_condition(job, kind)?;
    Some((condition["status"].as_str()?, condition["message"].as_str()?))
}

/// A condition's reason; empty without one.
pub(crate) fn reason<'a>(job: &'a Value, kind: &str) -> &'a str {
    find_condition(job, kind).and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
}

fn find_condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = job["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Fails unless the message of a condition has all of these words.
pub(crate) fn ensure_says(job: &Value, kind: &str, words: &[&str]) -> Result<()> {
    let (_, message) = condition(job, kind).with_context(|| format!("no condition {kind}"))?;
    for word in words {
        ensure!(message.contains(word), "{word:?} is not in {message:?}");
    }
    Ok(())
}

/// A volume of the node under the name of a claim, as the administrator of a cluster would.
pub(crate) fn provide(kubectl: &Kubectl<'_>, namespace: &str, claim: &str, on_node: &str) -> Result<()> {
    let volume = format!("{namespace}-{claim}");
    kubectl.run(&["delete", "persistentvolume", &volume, "--ignore-not-found"])?;
    let size = json!({"storage": "1Gi"});
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
        "spec": {
            "capacity": size, "accessModes": ["ReadWriteMany"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "", "hostPath": {"path": on_node, "type": "Directory"},
        },
    }))?;
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
        "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume,
            "resources": {"requests": size},
        },
    }))?;
    Ok(())
}
