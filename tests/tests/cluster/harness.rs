//! The cluster itself: what the other tests take for granted.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::namespace::with_namespace;
use lockstep_tests::wait::eventually;
use lockstep_tests::{machine, process};
use serde_json::json;

use crate::world::World;

/// Executors find each other by the names of a headless Service, and the operator finds the API server by its Service's
/// address: without either every other test would fail, and nobody would know why.
pub(crate) fn names_and_services_lead_to_pods(world: &World) -> Result<()> {
    let cluster = &world.cluster;
    cluster.import(Path::new(&machine::script("images.sh", &["--base"])?))?;
    with_namespace(cluster, "names", |kubectl| {
        kubectl.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"},
            "spec": {"clusterIP": "None", "selector": {"app": "peer"}, "ports": [{"port": 7600}]},
        }))?;
        for name in ["peer-0", "peer-1"] {
            kubectl.apply(&json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "peer"}},
                "spec": {
                    "hostname": name, "subdomain": "peers", "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "sleep", "image": "localhost/bookworm:1", "command": ["sleep", "infinity"]}],
                },
            }))?;
        }
        kubectl.run(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"])?;
        let peer = kubectl.get("pod", "peer-1")?.context("no pod peer-1")?;
        let address = peer["status"]["podIP"].as_str().context("peer-1 has no address")?;
        eventually("the name of peer-1", Duration::from_secs(10), || {
            let output = kubectl.output(&["exec", "peer-0", "--", "getent", "hosts", "peer-1.peers"])?;
            Ok((String::from_utf8(output.stdout)?.split_whitespace().next() == Some(address)).then_some(()))
        })?;
        kubectl.run(&[
            "exec",
            "peer-0",
            "--",
            "bash",
            "-c",
            ": < /dev/tcp/kubernetes.default.svc.cluster.local/443",
        ])?;

        let uid = peer["metadata"]["uid"].as_str().context("peer-1 has no uid")?;
        let processes = process::of_pod(uid)?;
        ensure!(
            matches!(&processes[..], [sleep] if sleep.command == ["sleep", "infinity"]),
            "peer-1's processes are not what the pod runs: {processes:?}"
        );
        Ok(())
    })
}

/// A test program that is killed, or Ctrl-C, must cost nobody a reboot: a supervisor ends with its pipe, and what a killed
/// one could not remove goes with the next start.
pub(crate) fn a_killed_cluster_leaves_nothing_behind(_: &World) -> Result<()> {
    // A cache of its own, so that this cluster is another one than the one that the tests run on.
    let cache = machine::cache()?.join("lifecycle");
    fs::remove_dir_all(&cache).ok();
    fs::create_dir_all(&cache)?;
    let programs = machine::script("kubernetes.sh", &["--where"])?;
    symlink(&programs, cache.join(Path::new(&programs).file_name().context("no name")?))?;

    let mut supervisor = supervise(&cache)?;
    let cgroup = format!("lockstep-{}", supervisor.id());
    ensure!(!cgroups_named(&cgroup)?.is_empty(), "the cluster made no cgroup {cgroup}");
    ensure!(!processes_naming(&cache)?.is_empty(), "the cluster's processes cannot be told from others");
    supervisor.kill()?;
    supervisor.wait()?;
    eventually("the processes of the killed cluster to end", Duration::from_secs(20), || {
        Ok(processes_naming(&cache)?.is_empty().then_some(()))
    })?;

    let mut supervisor = supervise(&cache)?;
    let second = format!("lockstep-{}", supervisor.id());
    ensure!(cgroups_named(&cgroup)?.is_empty(), "the next start left {:?}", cgroups_named(&cgroup)?);
    drop(supervisor.stdin.take());
    ensure!(supervisor.wait()?.success(), "the supervisor did not clean up");
    ensure!(cgroups_named(&second)?.is_empty(), "left behind: {:?}", cgroups_named(&second)?);
    ensure!(processes_naming(&cache)?.is_empty(), "left behind: {:?}", processes_naming(&cache)?);
    ensure!(!cache.join("cluster/run").exists(), "left behind: {}", cache.join("cluster/run").display());
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains(&cache.display().to_string()), "left behind in {mounts}");
    fs::remove_dir_all(&cache)?;
    Ok(())
}

fn supervise(cache: &Path) -> Result<Child> {
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .arg("supervise")
        .env("LOCKSTEP_CACHE", cache)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().context("no standard output")?).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the cluster did not start");
    Ok(supervisor)
}

fn cgroups_named(name: &str) -> Result<Vec<String>> {
    let output = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", name]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Processes of a cluster: its pid 1 names the cache in its arguments, all others live in mounts below it.
fn processes_naming(cache: &Path) -> Result<Vec<String>> {
    let cache = cache.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // Whoever has ended meanwhile is no longer of interest.
        let mounts = fs::read_to_string(folder.join("mountinfo")).unwrap_or_default();
        if mounts.contains(&cache) {
            found.push(fs::read_to_string(folder.join("cmdline")).unwrap_or_default().replace('\0', " "));
        }
    }
    Ok(found)
}
