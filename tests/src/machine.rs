//! This machine: where the repository and the cache are, and whether the cluster can run here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository's root")
}

/// `$LOCKSTEP_CACHE`, decided as in `scripts/env.sh`.
pub fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("LOCKSTEP_CACHE") {
        return Ok(cache.into());
    }
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(cache).join("lockstep"));
    }
    Ok(PathBuf::from(std::env::var_os("HOME").context("neither LOCKSTEP_CACHE nor HOME is set")?)
        .join(".cache/lockstep"))
}

/// Folder of the release builds of `lockstep`, `lockstep-libtorch` and `lockstep-operator`: `$LOCKSTEP_BIN_DIR`, else `target/release`.
pub fn programs() -> PathBuf {
    std::env::var_os("LOCKSTEP_BIN_DIR").map_or_else(|| repository().join("target/release"), PathBuf::from)
}

/// Runs one of `scripts/` and returns what it prints.
pub fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(repository().join("scripts").join(name))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to run scripts/{name}"))?;
    ensure!(output.status.success(), "scripts/{name} {} failed: {}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Why the cluster cannot run on this machine, if it cannot.
pub fn lacks_for_cluster() -> Option<String> {
    if std::env::consts::OS != "linux" {
        return Some("the test cluster needs Linux".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("the test cluster needs root, for namespaces and mounts".into());
    }
    let missing = Command::new(repository().join("scripts/packages.sh")).arg("--list").output();
    match missing.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            return Some(format!("missing packages: {missing} (scripts/packages.sh installs them)"));
        }
        Err(error) => return Some(format!("scripts/packages.sh does not run: {error}")),
    }
    let built = Command::new(repository().join("scripts/kubernetes.sh")).arg("--where").output();
    match built {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("scripts/kubernetes.sh does not run: {error}")),
    }
}

/// Why the product's programs cannot be run, if they cannot.
pub fn lacks_programs() -> Option<String> {
    let missing = ["lockstep", "lockstep-libtorch", "lockstep-operator"]
        .map(|name| programs().join(name))
        .into_iter()
        .find(|path| !path.exists())?;
    Some(format!("no {} (cargo build --release)", missing.display()))
}
