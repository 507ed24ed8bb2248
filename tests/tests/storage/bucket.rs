//! A job whose data and checkpoints are in a bucket of S3.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lockstep_crds::executor::exit_code;
use lockstep_storage::Store;
use lockstep_tests::{
    lockstep::{Data, Job},
    wait::eventually,
};

use crate::{World, bed::Training, in_runtime, same_weights::ensure_same};

const AWAY: Duration = Duration::from_secs(10);
const COMMITTED: Duration = Duration::from_secs(120);

pub(crate) fn training_from_and_to_s3_gives_the_weights_of_files(world: &World) -> Result<()> {
    let data = Data::slice()?;
    upload(world, &data)?;
    let reference = Job::new(&data)?.run(&["--executors", "1"])?;
    ensure_same(&job(world, &data, "same")?.run(&["--executors", "2"])?, &reference)?;
    let again = job(world, &data, "same")?.run(&["--executors", "1"])?;
    ensure!(again["alreadyFinished"] == true, "a finished run in a bucket was not found: {again}");
    ensure_same(&again, &reference)
}

/// Connections are refused while the job reads, since next to nothing fits into its cache, and writes.
pub(crate) fn a_server_that_is_away_for_a_while_changes_nothing(world: &World) -> Result<()> {
    const LONG: &str = "training.epochs=10";
    let data = Data::slice()?;
    upload(world, &data)?;
    let reference = Job::new(&data)?.set(LONG).run(&["--executors", "1"])?;
    let job = job(world, &data, "away")?.set(LONG).set("data.cacheSize=1Mi").set("checkpoint.everySteps=3");
    let training = Training::start(job, "away", "2")?;
    let checkpoints = world.s3()?.folder("checkpoints/away")?;
    eventually("a committed checkpoint", COMMITTED, || {
        let listed = in_runtime(checkpoints.list(""))?;
        Ok(listed.iter().any(|entry| entry.path.ends_with("MANIFEST.json")).then_some(()))
    })?;
    world.s3_server()?.away()?;
    sleep(AWAY);
    world.s3_server()?.back()?;
    ensure_same(&training.summary()?, &reference)
}

pub(crate) fn a_missing_bucket_is_refused_at_once_and_named(world: &World) -> Result<()> {
    let data = Data::slice()?;
    upload(world, &data)?;
    let job = job(world, &data, "nowhere")?.set("checkpoint.uri=s3://no-such-bucket/checkpoints");
    let (code, words) = job.fail(&["--executors", "1"])?;
    ensure!(code == i32::from(exit_code::CONFIG), "exit code {code}: {words}");
    ensure!(words.contains("no-such-bucket"), "the bucket is not named: {words}");
    Ok(())
}

/// Data and checkpoints, the latter below `name`, in the bucket.
fn job(world: &World, data: &Data, name: &str) -> Result<Job> {
    let server = world.s3_server()?;
    let uri = server.uri();
    let job = Job::new(data)?
        .set(&format!("data.training.uri={uri}/data/train"))
        .set(&format!("data.test.uri={uri}/data/test"))
        .set(&format!("checkpoint.uri={uri}/checkpoints/{name}"));
    Ok(server.variables().into_iter().fold(job, |job, (variable, value)| job.env(&variable, value)))
}

/// The same objects again are no change.
fn upload(world: &World, data: &Data) -> Result<()> {
    let store: Store = world.s3()?.folder("data")?;
    for split in ["train", "test"] {
        for entry in fs::read_dir(data.folder.join(split))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).context("the name is not UTF-8")?;
            let bytes = Bytes::from(fs::read(&path)?);
            in_runtime(store.create(&format!("{split}/{name}"), bytes))?;
        }
    }
    Ok(())
}
