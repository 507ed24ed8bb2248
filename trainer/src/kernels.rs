//! Which kernels compute a job, and what to do when this program has not got them.

use std::{env, os::unix::process::CommandExt, path::PathBuf, process::Command, sync::Arc};

use lockstep_crds::spec::Kernels;
use lockstep_kernels::Isa;
use lockstep_nn::{Backend, native::Native};

use crate::failure::Failure;

/// Names the vector instructions that native kernels use, instead of the fastest that the CPU has.
const ENV_ISA: &str = "LOCKSTEP_ISA";
/// The program with LibTorch's kernels, instead of the sibling of this one.
const ENV_LIBTORCH_PROGRAM: &str = "LOCKSTEP_LIBTORCH_PROGRAM";
/// Its name beside this program.
const LIBTORCH_PROGRAM: &str = "lockstep-libtorch";

/// All kernels that this program has.
#[derive(Clone, Debug)]
pub(crate) struct Backends(Vec<Arc<dyn Backend>>);

impl Backends {
    /// Lockstep's own kernels and `others`.
    ///
    /// # Errors
    /// `LOCKSTEP_ISA` names no vector instructions that this CPU has: a usage error.
    pub(crate) fn new(others: Vec<Arc<dyn Backend>>) -> Result<Self, String> {
        let native: Arc<dyn Backend> = Arc::new(Native::new(isa()?));
        Ok(Self([native].into_iter().chain(others).collect()))
    }

    /// Becomes the program that has `kernels` if this one lacks them, with the same arguments and environment.
    ///
    /// To be called while there is one thread and nothing is open. Returns when there is nothing to do or no such
    /// program; [`Backends::get`] then says so.
    pub(crate) fn hand_over(&self, kernels: Kernels) {
        if self.find(kernels).is_none()
            && let Ok(program) = other_program(kernels)
        {
            let error = Command::new(&program).args(env::args_os().skip(1)).exec();
            tracing::error!(%error, "failed to become {}", program.display());
        }
    }

    /// The kernels that a job asks for.
    ///
    /// # Errors
    /// This program has not got them.
    pub(crate) fn get(&self, kernels: Kernels) -> Result<Arc<dyn Backend>, Failure> {
        self.find(kernels).ok_or_else(|| Failure::Kernels {
            kernels: name(kernels),
            reason: other_program(kernels).map_or_else(
                |reason| reason,
                |program| format!("{} could not be started", program.display()),
            ),
        })
    }

    fn find(&self, kernels: Kernels) -> Option<Arc<dyn Backend>> {
        self.0.iter().find(|backend| backend.name() == name(kernels)).cloned()
    }
}

fn name(kernels: Kernels) -> &'static str {
    match kernels {
        Kernels::Native => "Native",
        Kernels::LibTorch => "LibTorch",
    }
}

fn isa() -> Result<Isa, String> {
    match env::var(ENV_ISA) {
        Err(env::VarError::NotPresent) => Ok(Isa::best()),
        Err(error) => Err(format!("{ENV_ISA}: {error}")),
        Ok(name) => name.parse().map_err(|error| format!("{ENV_ISA}: {error}")),
    }
}

/// The program with `kernels` beside this one, or why there is none.
fn other_program(kernels: Kernels) -> Result<PathBuf, String> {
    if kernels != Kernels::LibTorch {
        return Err("this program was built without them".into());
    }
    let this = env::current_exe().map_err(|error| format!("this program's place is unknown: {error}"))?;
    let program = env::var_os(ENV_LIBTORCH_PROGRAM)
        .map_or_else(|| this.with_file_name(LIBTORCH_PROGRAM), PathBuf::from);
    // A program that became itself would do so for ever.
    if !program.is_file() || program.canonicalize().ok() == this.canonicalize().ok() {
        return Err(format!(
            "no program {}: use the image lockstep-trainer-libtorch, set {ENV_LIBTORCH_PROGRAM} to the program, or \
             leave training.numerics.kernels out",
            program.display()
        ));
    }
    Ok(program)
}
