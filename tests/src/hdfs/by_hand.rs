//! An HDFS that stays until it is taken down: the program `hdfs`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::configuration::Configuration;
use super::{Hdfs, Options, by_hand_folder, jars, shell};
use crate::process;

/// Brings an HDFS up; its URI and configuration folder.
pub fn up(options: &Options) -> Result<(String, PathBuf)> {
    let folder = by_hand_folder()?;
    ensure!(!folder.exists(), "an HDFS is up already in {}; take it down with: hdfs down", folder.display());
    jars()?;
    fs::create_dir_all(&folder)?;
    let started = Hdfs::start_in(&folder, options, false)
        .and_then(|hdfs| hdfs.configuration.remember().map(|()| (hdfs.uri(), hdfs.conf_dir())));
    if started.is_err() {
        down()?;
    }
    started
}

/// Hadoop's shell on the HDFS that is up.
pub fn command(arguments: &[String]) -> Result<Command> {
    shell(&Configuration::read(&by_hand_folder()?, &jars()?)?, arguments)
}

/// Kills the daemons that [`up`] started and removes their files.
pub fn down() -> Result<()> {
    let folder = by_hand_folder()?;
    if !folder.exists() {
        bail!("no HDFS is up");
    }
    // By their class path, which begins with this folder: a pid kept in a file could be another process's by now.
    let class_path = format!("{}:", folder.join("conf").display());
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while it is being looked at.
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        if line.split(|byte| *byte == 0).any(|word| word.starts_with(class_path.as_bytes())) {
            process::kill(pid)?;
        }
    }
    fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))
}
