//! The job that a command line names, and how it is trained on this machine.

use std::{num::NonZeroUsize, path::PathBuf};

use lockstep_crds::{ResolvedJob, spec::Kernels};

use crate::manifest_file;

/// Arguments of every command that trains a job here.
#[derive(Debug, clap::Args)]
pub(crate) struct JobArguments {
    /// The CnnTrainingJob's manifest. Its locations may be paths of this machine.
    #[arg(short, long)]
    file: PathBuf,
    /// Executor processes, instead of the manifest's number.
    #[arg(long)]
    executors: Option<u32>,
    /// Threads of each executor; this machine's cores shared among them by default.
    #[arg(long)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Change a field of the spec: training.epochs=3. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

impl JobArguments {
    pub(crate) fn load(&self) -> Result<ResolvedJob, manifest_file::Error> {
        manifest_file::load(&self.file, &self.set, self.executors)
    }

    /// See [`crate::main`].
    pub(crate) fn kernels(&self) -> Option<Kernels> {
        Some(self.load().ok()?.result.training.kernels)
    }
}
