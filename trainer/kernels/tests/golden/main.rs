//! The golden bits: one hash of everything that each kernel computes on fixed numbers, the same for every instruction
//! set, CPU and architecture, and in this repository (`native-1.txt`, after the version of the numerics).
//!
//! `scripts/other-cpus.sh` runs this on CPUs that the machine has not got. Whoever means to change what a kernel
//! computes (not how fast) gives the numerics a new version, for executors of two versions must not train together,
//! and writes the hashes anew: `scripts/golden.sh`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod convolution;
mod dense;
mod elementwise;
mod hashes;
mod numbers;
mod units;

use hashes::Hashes;
use lockstep_kernels::Isa;
use numbers::Numbers;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/native-1.txt");

/// What every kernel computes with one instruction set.
fn computed_with(isa: Isa) -> Hashes {
    let mut hashes = Hashes::default();
    for kind in Numbers::KINDS {
        convolution::run(isa, kind, &mut hashes);
        dense::run(isa, kind, &mut hashes);
        elementwise::run(isa, kind, &mut hashes);
        units::run(isa, kind, &mut hashes);
    }
    hashes
}

#[test]
fn every_kernel_gives_the_golden_bits_with_every_instruction_set_of_this_cpu() {
    let portable = computed_with(Isa::PORTABLE);
    for isa in Isa::available() {
        assert_eq!(
            computed_with(isa).differences(&portable),
            [""; 0],
            "{isa} on the left, portable on the right"
        );
    }
    if std::env::var("LOCKSTEP_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(FILE, portable.to_string()).unwrap();
    }
    let golden = Hashes::parse(&std::fs::read_to_string(FILE).unwrap());
    assert_eq!(portable.differences(&golden), [""; 0], "this CPU on the left, {FILE} on the right");
}

/// A hash that nothing enters would be the same everywhere.
#[test]
fn another_bit_anywhere_is_another_hash() {
    let values = [1.0, -0.0, f32::NAN, f32::MIN_POSITIVE];
    let hash = |values: &[f32]| {
        let mut hashes = Hashes::default();
        hashes.add("values", values);
        hashes
    };
    let nan = f32::from_bits(f32::NAN.to_bits() ^ 0x8000_0001);
    assert_eq!(hash(&values).differences(&hash(&[1.0, -0.0, nan, f32::MIN_POSITIVE])), [""; 0]);
    for place in 0..values.len() {
        for bit in [0x8000_0000, 0x0080_0000, 1] {
            let mut other = values;
            other[place] = f32::from_bits(other[place].to_bits() ^ bit);
            if !other[place].is_nan() {
                assert_eq!(hash(&values).differences(&hash(&other)).len(), 1, "{values:?} {other:?}");
            }
        }
    }
}
