//! Outside the namespaces: holds the lock, starts pid 1 inside, and removes everything once that has ended.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{State, cgroups, pki};
use crate::wait::eventually;
use crate::{machine, process};

/// How long a test program waits for the cluster of another one.
const LOCK_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// The supervisor as a command of the program `harness`, in a process group of its own, so that Ctrl-C leaves it to clean up.
pub(super) fn command(harness: &Path) -> Command {
    let mut command = Command::new(harness);
    command.arg("supervise").stdout(Stdio::piped()).process_group(0);
    command
}

/// Brings the cluster up and returns when it has been taken down: by the end of standard input, or, when `detached`,
/// by [`super::Cluster::down`].
pub fn supervise(detached: bool) -> Result<()> {
    let state = State::of_this_user()?;
    let _lock = lock(&state)?;
    clean(&state)?; // what a supervisor left that was itself killed
    let outcome = run(&state, detached);
    if outcome.is_err() {
        // The last thing known about a cluster that failed; the next start removes it.
        fs::rename(state.logs(), state.root().join("failed-logs")).ok();
    }
    let cleaned = clean(&state);
    outcome?;
    cleaned
}

fn lock(state: &State) -> Result<fs::File> {
    if let Some(lock) = state.try_lock()? {
        return Ok(lock);
    }
    eprintln!("waiting for another test program to take its cluster down");
    eventually("the lock of the cluster", LOCK_DEADLINE, || state.try_lock())
}

fn run(state: &State, detached: bool) -> Result<()> {
    fs::remove_dir_all(state.root().join("failed-logs")).ok();
    for folder in ["logs", "kubelet", "pods", "containerd", "helm", "volumes", "run"] {
        fs::create_dir_all(state.run().join(folder)).context("failed to create the cluster's folders")?;
    }
    pki::create(&state.pki())?;
    let mut init = start_init(state)?;
    let outcome = watch(state, detached, &mut init);
    // Killing unshare kills pid 1 inside (--kill-child), and with it every process of the cluster.
    init.kill().ok();
    init.wait()?;
    outcome
}

/// Starts unshare, and in it `init.sh`, in cgroups of its own.
fn start_init(state: &State) -> Result<Child> {
    let cgroups = cgroups::create(&format!("lockstep-{}", std::process::id()), &state.cgroups())?;
    let node = machine::repository().join("tests/kubernetes/node");
    // The shell moves itself before it becomes unshare: a cgroup namespace begins where its first process stands.
    let enter =
        r#"while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;
    Command::new("sh")
        .args(["-c", enter, "sh"])
        .args(&cgroups)
        .args(["--", "unshare", "--net", "--pid", "--mount", "--ipc", "--uts", "--cgroup"])
        .args(["--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"])
        .arg(node.join("init.sh"))
        .arg(state.run())
        .arg(machine::script("kubernetes.sh", &["--where"])?)
        .arg(&node)
        .arg(std::env::current_exe()?)
        .current_dir("/")
        .stdin(Stdio::piped())
        .spawn()
        .context("failed to start the cluster's namespaces")
}

fn watch(state: &State, detached: bool, unshare: &mut Child) -> Result<()> {
    let init = eventually("pid 1 of the cluster", Duration::from_secs(10), || {
        if let Some(status) = unshare.try_wait()? {
            bail!("the cluster's namespaces could not be made: {status}");
        }
        Ok(process::children(unshare.id())?.first().copied())
    })?;
    fs::write(state.init_pid(), init.to_string())?;

    let is_wanted = want(state, detached)?;
    while is_wanted() {
        if let Some(status) = unshare.try_wait()? {
            bail!("the cluster ended by itself: {status}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether the cluster is still wanted: while standard input is open, or, by hand, while the file that says so is there.
fn want(state: &State, detached: bool) -> Result<Box<dyn Fn() -> bool>> {
    if detached {
        let by_hand = state.detached();
        fs::write(&by_hand, "").context("failed to note that the cluster stays")?;
        return Ok(Box::new(move || by_hand.exists()));
    }
    let wanted = Arc::new(AtomicBool::new(true));
    let input = wanted.clone();
    std::thread::spawn(move || {
        // Anything but more input, errors too, means that whoever wanted the cluster is gone.
        while std::io::stdin().read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        input.store(false, Ordering::Relaxed);
    });
    Ok(Box::new(move || wanted.load(Ordering::Relaxed)))
}

/// Removes cgroups and files; a cluster whose supervisor was killed has already lost its processes to the closed pipe,
/// or loses them with their cgroups.
fn clean(state: &State) -> Result<()> {
    cgroups::remove(&state.cgroups())?;
    // Mounts go with the last process of their namespace, which may take a moment longer.
    eventually("the cluster's files to go", Duration::from_secs(20), || {
        match fs::remove_dir_all(state.run()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(())),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(None),
            removed => {
                removed.map(Some).with_context(|| format!("failed to remove {}", state.run().display()))
            }
        }
    })
}
