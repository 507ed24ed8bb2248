//! The running cluster's files: one folder in the cache, one cluster at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine;

/// `$LOCKSTEP_CACHE/cluster`: the lock, and `run/` with everything that goes when the cluster goes.
pub struct State(PathBuf);

impl State {
    pub(crate) fn of_this_user() -> Result<Self> {
        Ok(Self(machine::cache()?.join("cluster")))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Shown to the node as `/run/lockstep`.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.run().join("pki")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.run().join("logs")
    }

    pub(crate) fn helm(&self) -> PathBuf {
        self.run().join("helm")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.run().join("volumes")
    }

    /// Exists while the cluster is one that was brought up by hand.
    pub(crate) fn detached(&self) -> PathBuf {
        self.run().join("detached")
    }

    /// Exists once the cluster is ready.
    pub(crate) fn ready(&self) -> PathBuf {
        self.run().join("ready")
    }

    pub(crate) fn init_pid(&self) -> PathBuf {
        self.run().join("init.pid")
    }

    /// The cgroups that were made for the cluster, one a line.
    pub(crate) fn cgroups(&self) -> PathBuf {
        self.run().join("cgroups")
    }

    fn lock_file(&self) -> Result<File> {
        std::fs::create_dir_all(&self.0).with_context(|| format!("failed to create {}", self.0.display()))?;
        let path = self.0.join("lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("failed to open {}", path.display()))
    }

    /// The lock, if nobody else holds it; held for as long as the file lives.
    pub(crate) fn try_lock(&self) -> Result<Option<File>> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("failed to lock the cluster"),
        }
    }

    pub(crate) fn is_locked(&self) -> Result<bool> {
        Ok(self.try_lock()?.is_none())
    }
}
