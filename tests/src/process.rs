//! Processes of this machine, among them those behind a pod's containers, as seen from outside the cluster.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Host pid.
    pub pid: u32,
    /// Host pid of the parent.
    pub parent: u32,
    /// Arguments, the program's name first.
    pub command: Vec<String>,
}

/// Kills with SIGKILL.
pub fn kill(pid: u32) -> Result<()> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a pid")?;
    kill_process(target, Signal::KILL).with_context(|| format!("failed to kill process {pid}"))
}

/// The processes of a pod, but for the one that only holds its namespaces. Empty when it has none (any more).
pub fn of_pod(pod_uid: &str) -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list processes")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end while it is being looked at.
        let Ok(cgroups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { continue };
        if !cgroups.contains(pod_uid) {
            continue;
        }
        let (Some(parent), Ok(command)) = (parent(pid), fs::read(format!("/proc/{pid}/cmdline"))) else {
            continue;
        };
        let command: Vec<String> = command
            .split(|&byte| byte == 0)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        if !command.is_empty() && command != ["/pause"] {
            processes.push(Process { pid, parent, command });
        }
    }
    Ok(processes)
}

/// Host pids of a process's children.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list processes")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent(child) == Some(pid) {
            children.push(child);
        }
    }
    Ok(children)
}

/// The most memory that a process has had so far, in bytes; none when it has ended.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The fourth field of `/proc/PID/stat`; the second one is in brackets and may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_and_killed() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(children(std::process::id()).unwrap().contains(&child.id()));
        assert!(peak_memory(child.id()).unwrap() > 0);
        kill(child.id()).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
