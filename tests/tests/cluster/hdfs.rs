//! The job on a real HDFS beside the cluster: pods read from it and write to it, with the configuration of a ConfigMap.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::{
    hdfs::{Hdfs, Options},
    kubectl::Kubectl,
    namespace::with_namespace,
};
use serde_json::{Value, json};

use crate::job::{Job, TRAINING, condition, manifest, phase};
use crate::world::{Product, World};

/// Data of all tests, put there by Hadoop's own client.
const DATA: &str = "/datasets";

pub(crate) fn the_example_reads_from_and_writes_to_hdfs(world: &World) -> Result<()> {
    let product = world.product()?;
    let hdfs = start(world, product, false)?;
    with_namespace(&world.cluster, "hdfs", |kubectl| {
        let job = apply(kubectl, &hdfs)?;
        let done = job.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        ensure_same(&done, product)?;

        let listing = hdfs.shell(&["dfs", "-ls", "-R", "/checkpoints"])?;
        eprintln!("{listing}");
        for file in ["RESULT.json", "model.safetensors", "optimizer.safetensors", "MANIFEST.json"] {
            ensure!(listing.contains(file), "Hadoop's shell shows no {file}:\n{listing}");
        }
        ensure!(!listing.contains(".tmp."), "temporary files are left:\n{listing}");
        Ok(())
    })
}

pub(crate) fn full_storage_shows_in_the_status_until_there_is_room(world: &World) -> Result<()> {
    let product = world.product()?;
    let hdfs = start(world, product, false)?;
    with_namespace(&world.cluster, "hdfs-full", |kubectl| {
        let job = apply(kubectl, &hdfs)?;
        job.until("a checkpoint", TRAINING, |job| job["status"]["checkpoint"].is_object())?;
        // Less than what is there already.
        hdfs.space_quota("/checkpoints", Some(1 << 20))?;
        let full = job.until("full storage in the status", TRAINING, |job| {
            condition(job, "Progressing").is_some_and(|(_, words)| words.contains("storage is full"))
        })?;
        ensure!(phase(&full) == "Running", "training stopped: {}", full["status"]);
        job.until_event("StorageFull")?;
        hdfs.space_quota("/checkpoints", None)?;
        let done = job.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        ensure_same(&done, product)
    })
}

/// The image holds Kerberos' library, and the pod gets the Secret's files.
pub(crate) fn a_keytab_in_a_secret_opens_an_hdfs_with_kerberos(world: &World) -> Result<()> {
    let product = world.product()?;
    let hdfs = start(world, product, true)?;
    with_namespace(&world.cluster, "kerberos", |kubectl| {
        let done = apply(kubectl, &hdfs)?.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        ensure_same(&done, product)
    })
}

fn start(world: &World, product: &Product, kerberos: bool) -> Result<Hdfs> {
    let hdfs = Hdfs::start(&Options { kerberos, network: world.cluster.network()?, ..Options::default() })?;
    let data = product.data.to_str().context("the path is not UTF-8")?;
    hdfs.shell(&["dfs", "-put", data, DATA])?;
    Ok(hdfs)
}

/// The example, with its locations on HDFS and nothing mounted.
fn apply<'a>(kubectl: &'a Kubectl<'a>, hdfs: &Hdfs) -> Result<Job<'a>> {
    let file = |name: &str| fs::read_to_string(hdfs.conf_dir().join(name));
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hadoop-conf"},
        "data": {"core-site.xml": file("core-site.xml")?, "hdfs-site.xml": file("hdfs-site.xml")?},
    }))?;
    let uri = hdfs.uri();
    let mut job = manifest()?;
    let spec = &mut job["spec"];
    spec["data"]["training"]["uri"] = json!(format!("{uri}{DATA}/train"));
    // By fs.defaultFS of the ConfigMap.
    spec["data"]["test"]["uri"] = json!(format!("hdfs://{DATA}/test"));
    spec["checkpoint"]["uri"] = json!(format!("{uri}/checkpoints"));
    spec["storage"] = json!({"hadoopConfigMapRef": {"name": "hadoop-conf"}, "user": "lockstep"});
    if let Some(folder) = hdfs.kerberos_dir() {
        kubectl.run(&[
            "create",
            "secret",
            "generic",
            "keytab",
            &format!("--from-file={}", folder.display()),
        ])?;
        spec["storage"]["kerberosSecretRef"] = json!({"name": "keytab"});
    }
    let template = spec["executorTemplate"].as_object_mut().context("no template")?;
    template.remove("volumes");
    template.remove("volumeMounts");
    kubectl.apply(&job)?;
    Ok(Job::named(kubectl, job["metadata"]["name"].as_str().context("no name")?))
}

fn ensure_same(done: &Value, product: &Product) -> Result<()> {
    let (result, reference) = (&done["status"]["result"], &product.reference);
    ensure!(
        reference["weightsSha256"].is_string() && result["weightsSha256"] == reference["weightsSha256"],
        "other weights than from files, {reference}: {result}"
    );
    Ok(())
}
