//! A real Kubernetes on one machine: etcd, API server, controllers, scheduler, kubelet with containerd and CNI, and
//! CoreDNS, in namespaces of its own (network, processes, mounts, IPC, host name, cgroups).
//!
//! Four programs stand between a test and a pod, so that whatever is killed, nothing stays behind:
//! the test program holds a pipe to the *supervisor* ([`supervisor`], outside the namespaces), which holds the lock and a
//! pipe to `tests/kubernetes/node/init.sh` (pid 1 inside), which runs the *node* ([`node`]), which runs the components.
//! A pipe that closes ends everything below it, and the supervisor then removes cgroups and files. What a killed
//! supervisor left is removed by the next one.

mod cgroups;
pub mod node;
mod pki;
mod state;
pub mod supervisor;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::hdfs::Network;
use crate::kubectl::Kubectl;
use crate::machine;
use crate::wait::eventually;
pub use state::State;

/// A running cluster. Dropping it takes the cluster down, unless it was brought up by hand (`cluster up`).
pub struct Cluster {
    state: State,
    programs: PathBuf,
    /// Host pid of pid 1 of the cluster's namespaces.
    init: u32,
    supervisor: Option<Child>,
}

impl Cluster {
    /// Brings a cluster up, waiting for one that another test program holds. With `LOCKSTEP_CLUSTER=shared` a cluster that
    /// was brought up by hand is used instead, with whatever is on it. `harness`: this crate's program `cluster`
    /// (`env!("CARGO_BIN_EXE_cluster")` in a test program).
    pub fn start(harness: &Path) -> Result<Self> {
        if let Some(cluster) = Self::attach()? {
            let share = std::env::var_os("LOCKSTEP_CLUSTER").is_some_and(|value| value == "shared");
            ensure!(
                share,
                "a cluster was brought up by hand: take it down, or use it with LOCKSTEP_CLUSTER=shared"
            );
            return Ok(cluster);
        }
        let mut supervisor = supervisor::command(harness)
            .stdin(Stdio::piped())
            .spawn()
            .context("failed to start the supervisor")?;
        wait_until_ready(&mut supervisor)?;
        Self::open(State::of_this_user()?, Some(supervisor))
    }

    /// Brings a cluster up that stays until [`Cluster::down`].
    pub fn up(harness: &Path) -> Result<Self> {
        ensure!(Self::attach()?.is_none(), "the cluster is up already");
        let state = State::of_this_user()?;
        ensure!(
            !state.is_locked()?,
            "the tests are running on a cluster of their own; there can be only one"
        );
        let log = File::create(state.root().join("supervisor.log"))?;
        let mut supervisor = supervisor::command(harness)
            .arg("--detached")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start the supervisor")?;
        wait_until_ready(&mut supervisor)
            .with_context(|| format!("see {}", state.root().join("supervisor.log").display()))?;
        Self::open(state, None)
    }

    /// Takes down a cluster that was brought up by hand.
    pub fn down() -> Result<()> {
        let cluster = Self::attach()?.context("no cluster was brought up by hand")?;
        std::fs::remove_file(cluster.state.detached())?;
        eventually("the supervisor to clean up", Duration::from_secs(60), || {
            Ok((!cluster.state.is_locked()?).then_some(()))
        })
    }

    /// The cluster that was brought up by hand, if there is one.
    pub fn attach() -> Result<Option<Self>> {
        let state = State::of_this_user()?;
        let by_hand = state.is_locked()? && state.detached().exists() && state.ready().exists();
        by_hand.then(|| Self::open(state, None)).transpose()
    }

    fn open(state: State, supervisor: Option<Child>) -> Result<Self> {
        let init = std::fs::read_to_string(state.init_pid())
            .context("failed to read the pid of the cluster's init")?;
        let programs = PathBuf::from(machine::script("kubernetes.sh", &["--where"])?);
        Ok(Self { state, programs, init: init.trim().parse()?, supervisor })
    }

    /// A command in the cluster's network, with kubectl and helm on its path, and the machine's files.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init)).arg("--").arg(program);
        self.with_environment(command)
    }

    /// The cluster's network, for servers that pods are to reach.
    pub fn network(&self) -> Result<Network> {
        let enter = ["nsenter".into(), format!("--net=/proc/{}/ns/net", self.init).into(), "--".into()];
        Ok(Network { host: node::ADDRESS.parse()?, enter: enter.to_vec() })
    }

    /// A command in all of the cluster's namespaces, as if on its node: `ctr`, `nft`, and the pods' processes.
    pub fn on_node(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command
            .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--wd=.", "--"])
            .arg(program);
        self.with_environment(command)
    }

    fn with_environment(&self, mut command: Command) -> Command {
        let mut path = self.programs.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path).env("KUBECONFIG", self.state.pki().join("admin.kubeconfig"));
        // Helm keeps its caches under the home folder otherwise.
        command.env("HELM_CACHE_HOME", self.state.helm()).env("HELM_CONFIG_HOME", self.state.helm());
        command.env("HELM_DATA_HOME", self.state.helm());
        command
    }

    /// kubectl without a namespace.
    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl::new(self, None)
    }

    /// Makes a docker archive's images known to the node.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| format!("failed to open {}", archive.display()))?;
        let output =
            self.on_node("ctr").args(["-n", "k8s.io", "images", "import", "-"]).stdin(file).output()?;
        if !output.status.success() {
            bail!("failed to import {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// A new folder that pods can mount as a hostPath: where it is for us, and where for the node.
    pub fn volume(&self, name: &str) -> Result<(PathBuf, String)> {
        let here = self.state.volumes().join(name);
        std::fs::create_dir_all(&here).with_context(|| format!("failed to create {}", here.display()))?;
        Ok((here, format!("/run/lockstep/volumes/{name}")))
    }

    /// Folder of the components' logs.
    pub fn logs(&self) -> PathBuf {
        self.state.logs()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut supervisor) = self.supervisor.take() else { return };
        drop(supervisor.stdin.take()); // the supervisor reads the end of this pipe as the order to clean up
        let ended =
            eventually(
                "the cluster to be taken down",
                Duration::from_secs(60),
                || Ok(supervisor.try_wait()?),
            );
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("the cluster was not taken down cleanly: {status}"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}

/// The supervisor says "ready" on its standard output, or ends after saying why on its standard error.
fn wait_until_ready(supervisor: &mut Child) -> Result<()> {
    let output = supervisor.stdout.take().context("the supervisor has no standard output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.trim() != "ready" {
        drop(supervisor.stdin.take());
        bail!("the cluster did not start: {}", supervisor.wait()?);
    }
    Ok(())
}
