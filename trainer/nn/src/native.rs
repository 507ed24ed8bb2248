//! The native backend: layers by the kernels of `lockstep-kernels`, with the same bits on every CPU.
//!
//! A [`Plan`](plan::Plan) fuses the layers of a model into units; a worker runs a micro-batch through them in one piece
//! of memory laid out beforehand ([`memory`]).

mod backward;
mod forward;
mod memory;
mod packed;
mod plan;
mod profile;
mod self_test;
mod worker;

use std::sync::Arc;

use lockstep_kernels::Isa;
use snafu::ResultExt;

use crate::backend::{Backend, Error, Worker};
use crate::fingerprint;
use crate::model::Model;
use worker::NativeWorker;

/// The native backend with one set of vector instructions, which changes no bit.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    isa: Isa,
}

impl Native {
    /// Computes with these instructions.
    pub fn new(isa: Isa) -> Self {
        Self { isa }
    }

    /// The instructions.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Default for Native {
    /// With the fastest instructions of this CPU.
    fn default() -> Self {
        Self::new(Isa::best())
    }
}

impl Backend for Native {
    fn name(&self) -> &'static str {
        "Native"
    }

    fn numerics_version(&self) -> &'static str {
        "native-1"
    }

    fn worker(&self, model: &Arc<Model>) -> Result<Box<dyn Worker>, Error> {
        self_test::check(self.isa)?;
        Ok(Box::new(NativeWorker::new(self.isa, model)))
    }

    /// One constant: a self-test has shown that this CPU computes the same bits as all others, whatever the model.
    fn fingerprint(
        &self,
        _model: &Arc<Model>,
        _micro_batch: usize,
        _evaluations: &[usize],
    ) -> Result<[u8; 32], fingerprint::Error> {
        self_test::check(self.isa).context(fingerprint::WorkerSnafu)?;
        Ok(self_test::GOLDEN)
    }
}
