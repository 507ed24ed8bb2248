//! Proof, at the start of every process, that this CPU computes the bits that all others compute.

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_kernels::Isa;

use super::worker::NativeWorker;
use crate::backend::{Error, UnusableSnafu};
use crate::fingerprint;
use crate::layer::{Layer, Shape};
use crate::model::Model;

/// What [`compute`] gives, on every CPU and with every instruction set. A changed value means changed numerics: every
/// job's result changes with it, and [`numerics_version`](crate::Backend::numerics_version) must, too.
pub(super) const GOLDEN: [u8; 32] = [
    161, 162, 223, 10, 208, 234, 138, 91, 134, 111, 196, 28, 176, 81, 112, 226, 189, 127, 228, 194, 114, 252,
    138, 54, 152, 80, 120, 166, 204, 205, 12, 44,
];

/// Instruction sets that were tested in this process, and whether they may be used.
static TESTED: Mutex<Vec<(Isa, bool)>> = Mutex::new(Vec::new());

/// Tests an instruction set, once a process; takes a few milliseconds.
///
/// # Errors
/// [`Error::Unusable`] when it does not compute what it must.
pub(super) fn check(isa: Isa) -> Result<(), Error> {
    let mut tested = TESTED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = tested.iter().find(|(other, _)| *other == isa).map(|(_, works)| *works);
    let works = known.unwrap_or_else(|| {
        let works = compute(isa).is_some_and(|found| found == GOLDEN);
        tested.push((isa, works));
        works
    });
    if works {
        return Ok(());
    }
    let reason = format!(
        "with {isa} instructions this CPU does not compute the bits that others compute; set LOCKSTEP_ISA to another \
         set, and check the machine's memory and processor"
    );
    UnusableSnafu { backend: "Native", reason }.fail()
}

/// SHA-256 over training, update and evaluation of a small model that has every kernel.
pub(super) fn compute(isa: Isa) -> Option<[u8; 32]> {
    let shape = Shape { height: 9, width: 10, channels: 3 };
    let model = Arc::new(Model::new(shape, 5, &layers()).ok()?);
    let mut worker = NativeWorker::new(isa, &model);
    fingerprint::measure(&mut worker, &model, 3, &[2, 1]).ok()
}

/// Convolutions of every algorithm, everything that lies around them, fused and not, and odd sizes.
fn layers() -> Vec<Layer> {
    let convolution = |filters, kernel_size| Layer::Conv2D { filters, kernel_size };
    let norm = || Layer::BatchNorm { momentum: 0.9, epsilon: 1e-3 };
    let dropout = || Layer::Dropout { rate: 0.25 };
    vec![
        convolution(18, 3),
        Layer::ReLU,
        norm(),
        convolution(17, 3),
        norm(),
        Layer::ReLU,
        Layer::Residual { layers: vec![convolution(17, 1), norm(), Layer::ReLU] },
        Layer::MaxPool2D { size: 2 },
        dropout(),
        convolution(6, 5),
        Layer::ReLU,
        norm(),
        Layer::ReLU,
        Layer::AveragePool2D { size: 2 },
        Layer::Residual { layers: vec![norm(), Layer::ReLU, convolution(6, 3)] },
        Layer::Flatten,
        Layer::Dense { units: 37 },
        Layer::ReLU,
        norm(),
        dropout(),
        Layer::Dense { units: 5 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_computes_the_golden_bits() {
        for isa in Isa::available() {
            let found = compute(isa).unwrap();
            assert_eq!(found, GOLDEN, "{isa}: {found:?}");
            assert!(check(isa).is_ok());
        }
    }
}
