//! Which kernels compute, and what their absence means.

use std::process::Command;

use anyhow::{Result, ensure};
use lockstep_tests::machine;

use crate::lockstep::{Data, Job, lockstep, text};

/// libtorch is half a second of every start and most of an image.
pub(crate) fn native_jobs_load_no_libtorch(_: &Data) -> Result<()> {
    let libraries = |program: &str| -> Result<String> {
        Ok(text(&Command::new("ldd").arg(machine::programs().join(program)).output()?.stdout))
    };
    for library in ["libtorch", "libc10", "libgomp", "libstdc++"] {
        ensure!(!libraries("lockstep")?.contains(library), "lockstep needs {library}");
    }
    ensure!(libraries("lockstep-libtorch")?.contains("libtorch"), "ldd shows nothing");
    Ok(())
}

pub(crate) fn a_job_whose_kernels_are_not_there_is_refused_with_the_remedy(data: &Data) -> Result<()> {
    let job = Job::new(data)?.set("training.numerics.kernels=LibTorch");
    let output = job.command(&[]).env("LOCKSTEP_LIBTORCH_PROGRAM", "/nowhere/lockstep-libtorch").output()?;
    let message = text(&output.stderr);
    ensure!(output.status.code() == Some(78), "{}: {message}", output.status);
    for word in ["LibTorch", "/nowhere/lockstep-libtorch", "image lockstep-trainer-libtorch"] {
        ensure!(message.contains(word), "no {word} in {message}");
    }
    // A program that were to become itself would never end.
    let itself = machine::programs().join("lockstep");
    let output = job.command(&[]).env("LOCKSTEP_LIBTORCH_PROGRAM", itself).output()?;
    ensure!(output.status.code() == Some(78), "{}: {}", output.status, text(&output.stderr));
    Ok(())
}

pub(crate) fn instructions_that_do_not_exist_are_a_usage_error(_: &Data) -> Result<()> {
    let output = lockstep(["executor", "--index", "0"]).env("LOCKSTEP_ISA", "sse9").output()?;
    let message = text(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}: {message}", output.status);
    ensure!(message.contains("LOCKSTEP_ISA") && message.contains("avx2"), "{message}");
    Ok(())
}
