//! `lockstep chaos`, the command by which users convince themselves.

use anyhow::{Result, ensure};
use lockstep_tests::machine;
use serde_json::Value;

use crate::lockstep::{Data, lockstep, summary, text};

/// Executors that are killed, frozen and scaled, briefly.
pub(crate) fn executors_that_are_killed_frozen_and_scaled_give_the_same_weights(data: &Data) -> Result<()> {
    chaos(data, 3, Faults { kills: 4, freezes: 1, scales: 2 }, 8)?;
    Ok(())
}

struct Faults {
    kills: u32,
    freezes: u32,
    scales: u32,
}

/// The promise, a hundred times.
pub(crate) fn a_hundred_killed_executors_lose_no_step(data: &Data) -> Result<()> {
    let verdict = chaos(data, 4, Faults { kills: 100, freezes: 10, scales: 10 }, 120)?;
    ensure!(verdict["faults"]["killsOfExecutor0"].as_u64() >= Some(5), "executor 0 was spared: {verdict}");
    println!("{verdict:#}");
    Ok(())
}

fn chaos(data: &Data, executors: u32, wanted: Faults, epochs: u32) -> Result<Value> {
    let Faults { kills, freezes, scales } = wanted;
    let mut command = lockstep(["chaos", "--json", "--threads", "1", "--seed", "7"]);
    command.arg("--file").arg(machine::repository().join("examples/demo.yaml"));
    for (option, number) in
        [("--executors", executors), ("--kills", kills), ("--freezes", freezes), ("--scales", scales)]
    {
        command.args([option, &number.to_string()]);
    }
    for change in [
        format!("data.training.uri={}", data.folder.join("train").display()),
        format!("data.test.uri={}", data.folder.join("test").display()),
        format!("training.epochs={epochs}"),
        "elastic.heartbeatTimeoutSeconds=2".to_owned(),
    ] {
        command.args(["--set", &change]);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "{}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
    let verdict = summary(&output)?;
    ensure!(verdict["sameWeights"] == true && verdict["stepsLost"] == 0, "{verdict}");
    let struck = &verdict["faults"];
    let all = struck["kills"] == kills && struck["freezes"] == freezes && struck["scales"] == scales;
    ensure!(all && struck["missed"] == 0, "not every fault struck: {verdict}");
    ensure!(verdict["recoveries"].as_u64() > Some(0), "nobody was missed: {verdict}");
    Ok(verdict)
}
