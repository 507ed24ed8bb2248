//! The golden weights: two small jobs on images made here, whose `weightsSha256` is in this repository
//! (`golden/native-1.txt`, after the version of the numerics), whatever computes them: every instruction set, several
//! in one view, emulated CPUs, AArch64. `scripts/golden.sh` writes them anew.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use lockstep_kernels::Isa;
use lockstep_tests::machine;

use crate::{
    executors::{self, Cpu},
    lockstep::Data,
    synthetic::{self, Images},
};

/// A job with a manifest in `golden/`, and the images that it trains on.
#[derive(Clone, Copy)]
struct Golden {
    name: &'static str,
    images: Images,
}

const EVERY_LAYER: Golden =
    Golden { name: "every-layer", images: Images { width: 14, height: 10, training: 10, test: 4 } };
const TWO_BLOCK: Golden =
    Golden { name: "two-block", images: Images { width: 32, height: 32, training: 17, test: 3 } };

impl Golden {
    fn file(&self, extension: &str) -> std::path::PathBuf {
        folder().join(self.name).with_extension(extension)
    }

    /// Trains with one executor for each of `cpus`; its weights are the golden ones.
    fn gives_the_golden_weights(&self, cpus: &[Cpu]) -> Result<()> {
        let folder = machine::repository().join("target/test-data").join(format!("golden-{}", self.name));
        let data = synthetic::prepare(self.images, &folder)?;
        let weights = executors::train(&self.file("yaml"), &data, cpus)?;
        if std::env::var("LOCKSTEP_GOLDEN").is_ok_and(|what| what == "write") {
            self.write(&weights)?;
        }
        let golden = read()?;
        let golden = golden.get(self.name).context("no golden weights")?;
        ensure!(weights == *golden, "{} by {cpus:?}: {weights}, golden: {golden}", self.name);
        Ok(())
    }

    fn write(&self, weights: &str) -> Result<()> {
        let mut golden = read()?;
        golden.insert(self.name.into(), weights.into());
        let lines: String = golden.iter().map(|(name, weights)| format!("{weights} {name}\n")).collect();
        Ok(fs::write(folder().join("native-1.txt"), lines)?)
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/golden")
}

fn read() -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(folder().join("native-1.txt"))?;
    let line = |line: &str| {
        let (weights, name) = line.split_once(' ').with_context(|| format!("no hash and name: {line}"))?;
        Ok((name.to_owned(), weights.to_owned()))
    };
    text.lines().map(line).collect()
}

/// A kernel whose vectors enter the result would show here.
pub(crate) fn every_instruction_set_gives_the_golden_weights(_: &Data) -> Result<()> {
    for isa in Isa::available() {
        EVERY_LAYER.gives_the_golden_weights(&[Cpu::This(isa)])?;
        TWO_BLOCK.gives_the_golden_weights(&[Cpu::This(isa)])?;
    }
    Ok(())
}

/// Executors that computed other bits would not share a view, or give other weights.
pub(crate) fn executors_with_different_instruction_sets_give_the_golden_weights_together(
    _: &Data,
) -> Result<()> {
    let sets = Isa::available();
    let fastest = Cpu::This(Isa::best());
    for isa in &sets {
        EVERY_LAYER.gives_the_golden_weights(&[fastest.clone(), Cpu::This(*isa)])?;
    }
    // The slowest first, so that each set has been executor 0 once.
    for order in [sets.clone(), sets.iter().rev().copied().collect()] {
        let cpus: Vec<_> = order.into_iter().cycle().take(3).map(Cpu::This).collect();
        EVERY_LAYER.gives_the_golden_weights(&cpus)?;
        TWO_BLOCK.gives_the_golden_weights(&cpus)?;
    }
    Ok(())
}

/// What a CPU without fused multiply-add, without AVX-512 or of another architecture computes, in one view with this one.
pub(crate) fn executors_on_other_cpus_give_the_golden_weights_together(_: &Data) -> Result<()> {
    let others = Cpu::emulated()?;
    for other in &others {
        EVERY_LAYER.gives_the_golden_weights(std::slice::from_ref(other))?;
    }
    let mut all = others;
    all.insert(1, Cpu::This(Isa::best()));
    EVERY_LAYER.gives_the_golden_weights(&all)
}
