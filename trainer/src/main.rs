//! `lockstep`: see [`lockstep_trainer::main`]. It knows Lockstep's own kernels only, so that jobs that use them load no
//! libtorch; for a job with others it becomes its sibling `lockstep-libtorch`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockstep_trainer::main(Vec::new())
}
