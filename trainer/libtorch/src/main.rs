//! `lockstep-libtorch`: `lockstep` with LibTorch's kernels besides its own. Same commands, same arguments.

use std::process::ExitCode;
use std::sync::Arc;

use lockstep_libtorch::{LibTorch, pin_single_threaded};

fn main() -> ExitCode {
    // Before any thread exists, since libtorch's libraries read it once.
    pin_single_threaded();
    lockstep_trainer::main(vec![Arc::new(LibTorch)])
}
