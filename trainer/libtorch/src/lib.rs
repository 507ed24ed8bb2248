//! The LibTorch backend: every layer by PyTorch's C++ library. The reference that other kernels are tested against, and a
//! choice (`numerics.kernels: LibTorch`); the only crate that links libtorch.
//!
//! Bits may differ between CPUs with different instruction sets or caches, so its fingerprint is measured.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ffi;
mod micro_batch;
mod operators;

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_nn::backend::{self, StageSnafu};
use lockstep_nn::fingerprint::{self, WorkerSnafu};
use lockstep_nn::{Backend, Model, Worker};
use snafu::ResultExt;

/// Computes every layer with libtorch, on one intra-op thread for each worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct LibTorch;

impl Backend for LibTorch {
    fn name(&self) -> &'static str {
        "LibTorch"
    }

    fn numerics_version(&self) -> &'static str {
        "libtorch-2.13.0/1"
    }

    fn worker(&self, model: &Arc<Model>) -> Result<Box<dyn Worker>, backend::Error> {
        // OpenMP and MKL keep the number for each thread.
        pin_single_threaded();
        keep_memory()?;
        Ok(Box::new(micro_batch::Worker::new(model)))
    }

    fn fingerprint(
        &self,
        model: &Arc<Model>,
        micro_batch: usize,
        evaluations: &[usize],
    ) -> Result<[u8; 32], fingerprint::Error> {
        let mut worker = self.worker(model).context(WorkerSnafu)?;
        fingerprint::measure(&mut *worker, model, micro_batch, evaluations)
    }
}

/// Holds libtorch, OpenMP and MKL to one thread for operations called from this thread and from threads started later.
///
/// To be called first in `main`. Workers do it for themselves again, because OpenMP and MKL keep the number per thread;
/// with it neither depends on `OMP_NUM_THREADS` or `MKL_NUM_THREADS`.
pub fn pin_single_threaded() {
    tch::set_num_threads(1);
}

/// Sets libtorch's allocator, once in a process.
fn keep_memory() -> Result<(), backend::Error> {
    static KEPT: Mutex<bool> = Mutex::new(false);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*kept {
        ffi::keep_memory().boxed().context(StageSnafu { stage: "libtorch", pass: "its allocator" })?;
        *kept = true;
    }
    Ok(())
}
