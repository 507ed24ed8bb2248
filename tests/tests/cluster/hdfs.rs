//! The job on a real HDFS beside the cluster: pods read from it and write to it, with the configuration of a ConfigMap.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::{
    hdfs::{Hdfs, Options},
    kubectl::Kubectl,
    namespace::with_namespace,
};
use serde_json::{Value, json};

use crate::job::{Job, SOON, TRAINING, condition, example, phase};
use crate::world::{Product, World};

/// Data of all tests, put there by Hadoop's own client.
const DATA: &str = "/datasets";
const DATANODES: usize = 3;

pub(crate) fn the_example_reads_from_and_writes_to_hdfs(world: &World) -> Result<()> {
    let product = world.product()?;
    let hdfs = start(world, product, false)?;
    with_namespace(&world.cluster, "hdfs", |kubectl| {
        // Whoever forgets the ConfigMap is told so, and need not start anew.
        let job = apply_job(kubectl, &hdfs)?;
        let stalled =
            job.until("the missing ConfigMap in the status", SOON, |job| phase(job) == "Stalled")?;
        let (_, words) = condition(&stalled, "Progressing").context("no condition Progressing")?;
        ensure!(words.contains("hadoop-conf"), "the ConfigMap is not named: {}", stalled["status"]);
        apply_configuration(kubectl, &hdfs)?;
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
        apply_configuration(kubectl, &hdfs)?;
        let job = apply_job(kubectl, &hdfs)?;
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
        apply_configuration(kubectl, &hdfs)?;
        let job = apply_job(kubectl, &hdfs)?;
        let done = job.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        ensure_same(&done, product)
    })
}

/// Executors that keep next to nothing read all the time: without a DataNode they wait, and say so.
pub(crate) fn datanodes_that_are_away_show_in_the_status_until_they_are_back(world: &World) -> Result<()> {
    let product = world.product()?;
    let mut hdfs = start(world, product, false)?;
    with_namespace(&world.cluster, "hdfs-away", |kubectl| {
        apply_configuration(kubectl, &hdfs)?;
        let mut manifest = manifest(kubectl, &hdfs)?;
        manifest["spec"]["data"]["cacheSize"] = json!("1Mi");
        kubectl.apply(&manifest)?;
        let job = named(kubectl, &manifest)?;
        job.until("a checkpoint", TRAINING, |job| job["status"]["checkpoint"].is_object())?;
        (0..DATANODES).try_for_each(|index| hdfs.datanode(index).kill())?;
        let away = job.until("missing data in the status", TRAINING, |job| {
            condition(job, "Progressing").is_some_and(|(_, words)| words.contains("waits for its data"))
        })?;
        ensure!(phase(&away) == "Running", "training was given up: {}", away["status"]);
        job.until_event("StorageUnavailable")?;
        (0..DATANODES).try_for_each(|index| hdfs.datanode(index).restart())?;
        let done = job.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        ensure_same(&done, product)
    })
}

fn start(world: &World, product: &Product, kerberos: bool) -> Result<Hdfs> {
    let network = world.cluster.network()?;
    let hdfs = Hdfs::start(&Options { datanodes: DATANODES, kerberos, network, ..Options::default() })?;
    let data = product.data.to_str().context("the path is not UTF-8")?;
    hdfs.shell(&["dfs", "-put", data, DATA])?;
    Ok(hdfs)
}

/// The ConfigMap that the example names.
fn apply_configuration(kubectl: &Kubectl<'_>, hdfs: &Hdfs) -> Result<()> {
    let file = |name: &str| fs::read_to_string(hdfs.conf_dir().join(name));
    kubectl.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hadoop-conf"},
        "data": {"core-site.xml": file("core-site.xml")?, "hdfs-site.xml": file("hdfs-site.xml")?},
    }))?;
    Ok(())
}

fn apply_job<'a>(kubectl: &'a Kubectl<'a>, hdfs: &Hdfs) -> Result<Job<'a>> {
    let manifest = manifest(kubectl, hdfs)?;
    kubectl.apply(&manifest)?;
    named(kubectl, &manifest)
}

fn named<'a>(kubectl: &'a Kubectl<'a>, manifest: &Value) -> Result<Job<'a>> {
    Ok(Job::named(kubectl, manifest["metadata"]["name"].as_str().context("no name")?))
}

/// The example on HDFS, with this one's address; with Kerberos also the Secret that it needs.
fn manifest(kubectl: &Kubectl<'_>, hdfs: &Hdfs) -> Result<Value> {
    let uri = hdfs.uri();
    let mut job = example("cifar10-hdfs.yaml")?;
    let spec = &mut job["spec"];
    ensure!(spec["executorTemplate"]["volumes"].is_null(), "the example on HDFS mounts a volume");
    spec["data"]["training"]["uri"] = json!(format!("{uri}{DATA}/train"));
    // By fs.defaultFS of the ConfigMap.
    spec["data"]["test"]["uri"] = json!(format!("hdfs://{DATA}/test"));
    spec["checkpoint"]["uri"] = json!(format!("{uri}/checkpoints"));
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
    Ok(job)
}

fn ensure_same(done: &Value, product: &Product) -> Result<()> {
    let (result, reference) = (&done["status"]["result"], &product.reference);
    ensure!(
        reference["weightsSha256"].is_string() && result["weightsSha256"] == reference["weightsSha256"],
        "other weights than from files, {reference}: {result}"
    );
    Ok(())
}
