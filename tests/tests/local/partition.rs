//! Executors on two machines whose link is cut: network namespaces with a pair of virtual interfaces between them.

use std::{
    path::Path,
    process::{Command, id},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lockstep_crds::executor::ExecutorReport;
use lockstep_tests::{machine, wait::eventually};
use serde_json::{Value, json};

use crate::{
    executors::{Executor, write_job},
    lockstep::Data,
};

const CUT: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(600);
/// Far more than can be trained while the link is cut.
const EPOCHS: u32 = 50;

/// Why it cannot run here, if it cannot.
pub(crate) fn lacks() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    let ip = Command::new("ip").arg("-Version").output();
    (!ip.is_ok_and(|output| output.status.success())).then(|| "no ip (iproute2)".into())
}

pub(crate) fn both_sides_of_a_link_that_is_cut_go_on_and_agree_when_it_heals(data: &Data) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manifest = machine::repository().join("examples/demo.yaml");
    write_job(&manifest, data, folder.path(), 2, |spec: &mut Value| {
        spec["elastic"] = json!({"minExecutors": 1, "heartbeatTimeoutSeconds": 2});
        spec["training"]["epochs"] = json!(EPOCHS);
        // Both sides commit the same steps while they do not know of each other.
        spec["checkpoint"]["everySteps"] = json!(50);
    })?;
    let machines = Machines::connected()?;
    let start = |side: usize| {
        let options = ["--host", Machines::ADDRESSES[side]];
        Executor::start(machines.command(side, "lockstep"), side, folder.path(), &options)
    };
    let mut executors = [start(0)?, start(1)?];

    together(&mut executors, 5)?;
    machines.set_link("down")?;
    alone(&mut executors)?;
    let before = steps(&executors)?;
    sleep(CUT);
    let after = steps(&executors)?;
    for side in [0, 1] {
        ensure!(after[side] > before[side] + 5, "side {side} stood still: steps {before:?}, then {after:?}");
    }
    machines.set_link("up")?;
    together(&mut executors, *after.iter().max().context("two sides")?)?;

    let ends = [weights(&mut executors[0])?, weights(&mut executors[1])?];
    for executor in &executors {
        let log = executor.log()?;
        ensure!(!log.contains("states differ"), "the sides disagreed: {log}");
    }
    println!("cut at steps {before:?}, healed at {after:?}; {ends:?}");
    let undisturbed = undisturbed(&manifest, data)?;
    ensure!(ends.iter().all(|end| *end == undisturbed), "{ends:?}, undisturbed {undisturbed}");
    Ok(())
}

/// The same job by two executors that nothing happens to.
fn undisturbed(manifest: &Path, data: &Data) -> Result<String> {
    let folder = tempfile::tempdir()?;
    write_job(manifest, data, folder.path(), 2, |spec| spec["training"]["epochs"] = json!(EPOCHS))?;
    let start = |index| {
        let lockstep = Command::new(machine::programs().join("lockstep"));
        Executor::start(lockstep, index, folder.path(), &[])
    };
    let [mut first, _second] = [start(0)?, start(1)?];
    weights(&mut first)
}

fn weights(executor: &mut Executor) -> Result<String> {
    let reports = executor.reports()?;
    let result = reports.into_iter().next_back().and_then(|last| last.result).context("no result")?;
    Ok(result.weights_sha256)
}

/// Until both are in one view and further than `step`.
fn together(executors: &mut [Executor; 2], step: u64) -> Result<()> {
    await_both("one view of both", executors, |report| members(report) == [0, 1] && report.step > step)
}

/// Until each is in a view of its own.
fn alone(executors: &mut [Executor; 2]) -> Result<()> {
    await_both("a view of each", executors, |report| members(report) == [report.index])
}

fn members(report: &ExecutorReport) -> &[u32] {
    report.view.as_ref().filter(|_| report.joined).map_or(&[], |view| &view.members)
}

fn await_both(
    what: &str,
    executors: &mut [Executor; 2],
    holds: impl Fn(&ExecutorReport) -> bool,
) -> Result<()> {
    eventually(what, DEADLINE, || {
        let mut all = true;
        for executor in executors.iter_mut() {
            ensure!(executor.runs()?, "an executor has ended: {}", executor.log()?);
            all &= executor.latest()?.is_some_and(|report| holds(&report));
        }
        Ok(all.then_some(()))
    })
}

fn steps(executors: &[Executor; 2]) -> Result<Vec<u64>> {
    executors.iter().map(|executor| Ok(executor.latest()?.context("no report")?.step)).collect()
}

/// Of the namespaces' names.
const PREFIX: &str = "lockstep-";

/// Two network namespaces, each a machine for the executors in it; they go with this.
struct Machines {
    names: [String; 2],
}

impl Machines {
    const ADDRESSES: [&str; 2] = ["10.91.0.1", "10.91.0.2"];
    const INTERFACE: &str = "wire";

    fn connected() -> Result<Self> {
        remove_those_left_behind()?;
        let machines = Self { names: ["a", "b"].map(|side| format!("{PREFIX}{side}-{}", id())) };
        for name in &machines.names {
            ip(&["netns", "add", name])?;
        }
        let [one, other] = &machines.names;
        let link = Self::INTERFACE;
        ip(&[
            "link", "add", "name", link, "netns", one, "type", "veth", "peer", "name", link, "netns", other,
        ])?;
        for (name, address) in machines.names.iter().zip(Self::ADDRESSES) {
            ip(&["-netns", name, "address", "add", &format!("{address}/24"), "dev", link])?;
            for interface in ["lo", link] {
                ip(&["-netns", name, "link", "set", interface, "up"])?;
            }
        }
        Ok(machines)
    }

    fn set_link(&self, state: &str) -> Result<()> {
        ip(&["-netns", &self.names[0], "link", "set", Self::INTERFACE, state]).map(drop)
    }

    /// A program of this project, on one of the machines.
    fn command(&self, side: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[side]]).arg(machine::programs().join(program));
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = ip(&["netns", "delete", name]) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// By a test that was killed: the name ends with its process's id.
fn remove_those_left_behind() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(_, id)| id);
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            ip(&["netns", "delete", name])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output().context("failed to run ip")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {} failed: {}", arguments.join(" "), words.trim());
    Ok(String::from_utf8(output.stdout)?)
}
