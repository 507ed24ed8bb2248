//! `lockstep prepare` straight to a store: there is what it would have written to files, and a job trains on it.

use std::{ffi::OsString, process::Output};

use anyhow::{Context, Result, ensure};
use lockstep_crds::executor::exit_code;
use lockstep_tests::lockstep::{Data, Images, Job, lockstep, text};
use serde_json::Value;

use crate::{World, bed::Bed, in_runtime, same_weights::ensure_same};

const FOLDER: &str = "prepared";
type Environment = Vec<(String, OsString)>;

pub(crate) fn a_data_set_on_hdfs_is_that_in_files(bed: &Bed) -> Result<()> {
    let (uri, environment) = {
        let hdfs = bed.hdfs();
        let conf_dir = ("HADOOP_CONF_DIR".to_owned(), hdfs.conf_dir().into());
        (format!("{}/{FOLDER}", hdfs.uri()), vec![conf_dir])
    };
    let data = Data::slice()?;
    let summary = prepared(&uri, &[], &environment)?;
    for split in ["train", "test"] {
        let manifest = std::fs::read(data.folder.join(split).join("dataset.json"))?;
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let digest = digest(&summary, split)?;
        ensure!(*digest == manifest["digest"], "{split}: {digest}, in files {}", manifest["digest"]);
    }
    let listing = bed.hdfs().shell(&["dfs", "-ls", "-R", &format!("/{FOLDER}")])?;
    ensure!(!listing.contains(".tmp."), "temporary files are left:\n{listing}");

    refuses_to_overwrite(&uri, &environment)?;
    let reference = Job::new(&data)?.run(&["--executors", "1"])?;
    ensure_same(&job(&data, &uri, &environment)?.run(&["--executors", "2"])?, &reference)
}

/// PNG keeps every pixel: the weights are those of raw records in files.
pub(crate) fn encoded_records_in_a_bucket_train_to_the_weights_of_raw_ones(world: &World) -> Result<()> {
    let (uri, environment) = {
        let server = world.s3_server()?;
        let variables = server.variables().into_iter().map(|(name, value)| (name, value.into()));
        (format!("{}/{FOLDER}", server.uri()), variables.collect::<Environment>())
    };
    let data = Data::slice()?;
    let summary = prepared(&uri, &["--encoding", "png"], &environment)?;
    let store = world.s3()?.folder(FOLDER)?;
    let manifest = in_runtime(store.get("train/dataset.json"))?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    ensure!(manifest["encoding"] == "png" && manifest["digest"] == *digest(&summary, "train")?, "{manifest}");

    refuses_to_overwrite(&uri, &environment)?;
    let reference = Job::new(&data)?.run(&["--executors", "1"])?;
    ensure_same(&job(&data, &uri, &environment)?.run(&["--executors", "2"])?, &reference)
}

fn prepare(uri: &str, options: &[&str], environment: &Environment) -> Result<Output> {
    let Images { kind, path, .. } = Images::slice()?;
    let mut command = lockstep(["prepare", kind.as_str(), path.as_str(), uri, "--json"]);
    Ok(command.args(options).envs(environment.iter().cloned()).output()?)
}

/// The summary that it prints.
fn prepared(uri: &str, options: &[&str], environment: &Environment) -> Result<Value> {
    let output = prepare(uri, options, environment)?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| text(&output.stdout))
}

fn refuses_to_overwrite(uri: &str, environment: &Environment) -> Result<()> {
    let again = prepare(uri, &["--shards", "3"], environment)?;
    let words = text(&again.stderr);
    ensure!(again.status.code() == Some(exit_code::DATA.into()), "{}: {words}", again.status);
    ensure!(words.contains("holds a prepared data set already"), "{words}");
    Ok(())
}

fn digest<'a>(summary: &'a Value, split: &str) -> Result<&'a Value> {
    let splits = summary["splits"].as_array().with_context(|| format!("no splits: {summary}"))?;
    let found = splits.iter().find(|found| found["name"] == split);
    Ok(&found.with_context(|| format!("no {split}: {summary}"))?["digest"])
}

/// The job that trains on `uri`.
fn job(data: &Data, uri: &str, environment: &Environment) -> Result<Job> {
    let job = Job::new(data)?
        .set(&format!("data.training.uri={uri}/train"))
        .set(&format!("data.test.uri={uri}/test"));
    Ok(environment.iter().fold(job, |job, (name, value)| job.env(name, value)))
}
