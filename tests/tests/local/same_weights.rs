//! The promise: who computes, how many, and who dies on the way does not change a bit of the weights.

use anyhow::{Result, ensure};
use lockstep_tests::process;
use rustix::process::{Pid, Signal, kill_process};

use crate::lockstep::{Data, Job, summary, text};

fn weights(summary: &serde_json::Value) -> String {
    summary["weightsSha256"].as_str().unwrap_or("none").to_owned()
}

/// A summand taken in another order would show here.
pub(crate) fn any_number_of_executors_gives_the_same_weights(data: &Data) -> Result<()> {
    let alone = Job::new(data)?.run(&["--executors", "1"])?;
    ensure!(weights(&alone).len() == 64, "no hash in {alone}");
    for executors in ["2", "3", "4"] {
        let together = Job::new(data)?.run(&["--executors", executors])?;
        ensure!(weights(&together) == weights(&alone), "{executors} executors: {together}\nalone: {alone}");
        for figure in ["testAccuracy", "testLoss", "validationAccuracy"] {
            ensure!(
                together[figure] == alone[figure],
                "{figure} with {executors} executors: {together}\nalone: {alone}"
            );
        }
    }
    // More threads, and no job of another seed, give the same.
    let threads = Job::new(data)?.run(&["--executors", "1", "--threads", "3"])?;
    ensure!(weights(&threads) == weights(&alone), "three threads: {threads}\none: {alone}");
    let other = Job::new(data)?.set("training.seed=43").run(&["--executors", "2"])?;
    ensure!(weights(&other) != weights(&alone), "the seed changes nothing");
    Ok(())
}

/// What is lost between two executors' states and storage would show here.
pub(crate) fn a_run_resumed_by_another_number_of_executors_gives_the_same_weights(data: &Data) -> Result<()> {
    let long = "training.epochs=5";
    let undisturbed = Job::new(data)?.set(long).run(&["--executors", "1"])?;
    let job = Job::new(data)?.set(long);
    let running = job.start(&["--executors", "2"])?;
    job.reaches(10)?;
    kill_process(Pid::from_raw(running.id() as i32).expect("a child has a pid"), Signal::INT)?;
    let output = running.output()?;
    ensure!(output.status.code() == Some(130), "interrupted: {} {}", output.status, text(&output.stderr));
    let saved = job.checkpoints()?;
    ensure!(
        saved.last().is_some_and(|newest| newest.as_str() < "step-00000070"),
        "it had ended already: {saved:?}"
    );
    let resumed = job.run(&["--executors", "3"])?;
    ensure!(weights(&resumed) == weights(&undisturbed), "resumed: {resumed}\nundisturbed: {undisturbed}");
    ensure!(resumed["alreadyFinished"] == false && resumed["steps"] == 70, "{resumed}");
    Ok(())
}

/// The second request comes while the first one waits for a checkpoint.
pub(crate) fn a_run_asked_twice_to_stop_stops_at_once_and_resumes_to_the_same_weights(
    data: &Data,
) -> Result<()> {
    let long = "training.epochs=5";
    let undisturbed = Job::new(data)?.set(long).run(&["--executors", "2"])?;
    let job = Job::new(data)?.set(long).set("checkpoint.everySteps=5");
    let running = job.start(&["--executors", "2"])?;
    job.reaches(10)?;
    let process = Pid::from_raw(running.id() as i32).expect("a child has a pid");
    kill_process(process, Signal::INT)?;
    std::thread::sleep(std::time::Duration::from_millis(5));
    // It may have ended in between.
    let _ = kill_process(process, Signal::INT);
    let output = running.output()?;
    ensure!(output.status.code() == Some(130), "stopped: {} {}", output.status, text(&output.stderr));
    let resumed = job.run(&["--executors", "2"])?;
    ensure!(weights(&resumed) == weights(&undisturbed), "resumed: {resumed}\nundisturbed: {undisturbed}");
    Ok(())
}

/// Executor 0, which writes the checkpoints, dies first.
pub(crate) fn killed_executors_change_nothing(data: &Data) -> Result<()> {
    let long = "training.epochs=8";
    let undisturbed = Job::new(data)?.set(long).run(&["--executors", "2"])?;
    let job = Job::new(data)?.set(long);
    let running = job.start(&["--executors", "3"])?;
    for (step, victim) in [(10, 0), (25, 2), (40, 0), (55, 1)] {
        job.reaches(step)?;
        process::kill(running.executor(victim)?)?;
    }
    let output = running.output()?;
    ensure!(output.status.success(), "{} {}", output.status, text(&output.stderr));
    let survived = summary(&output)?;
    ensure!(weights(&survived) == weights(&undisturbed), "survived: {survived}\nundisturbed: {undisturbed}");
    ensure!(survived["recoveries"].as_u64() >= Some(1), "nobody noticed the kills: {survived}");
    Ok(())
}

/// The same command twice must not train twice, unless asked to.
pub(crate) fn a_finished_run_is_reported_and_fresh_starts_it_over(data: &Data) -> Result<()> {
    let job = Job::new(data)?.set("training.epochs=1");
    let first = job.run(&["--executors", "2"])?;
    let again = job.run(&["--executors", "1"])?;
    ensure!(again["alreadyFinished"] == true && weights(&again) == weights(&first), "{again}");
    let fresh = job.run(&["--executors", "1", "--fresh"])?;
    ensure!(fresh["alreadyFinished"] == false && weights(&fresh) == weights(&first), "{fresh}");
    Ok(())
}

/// The issue's own figure; about a quarter of an hour on two cores.
pub(crate) fn two_epochs_of_all_images_give_the_same_weights_on_1_to_4_executors(_: &Data) -> Result<()> {
    let data = Data::whole()?;
    let fast = |executors: u32| (2 / executors).max(1).to_string();
    let mut first: Option<serde_json::Value> = None;
    for executors in 1..=4_u32 {
        let run =
            Job::new(&data)?.run(&["--executors", &executors.to_string(), "--threads", &fast(executors)])?;
        println!("{executors} executors: {run}");
        let first = first.get_or_insert_with(|| run.clone());
        ensure!(weights(&run) == weights(first), "{executors} executors: {run}\none: {first}");
    }
    let job = Job::new(&data)?.set("checkpoint.everySteps=100");
    let running = job.start(&["--executors", "2"])?;
    job.reaches(300)?;
    kill_process(Pid::from_raw(running.id() as i32).expect("a child has a pid"), Signal::INT)?;
    ensure!(running.output()?.status.code() == Some(130), "not interrupted");
    let resumed = job.run(&["--executors", "3"])?;
    println!("resumed after step 300 by 3 executors: {resumed}");
    ensure!(Some(weights(&resumed)) == first.as_ref().map(weights), "resumed: {resumed}");
    Ok(())
}
