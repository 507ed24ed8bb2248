//! Named hashes, as they stand in a file: one a line, the name after the hash.

use std::collections::BTreeMap;
use std::fmt;

/// Hashes of what was computed, by name.
#[derive(Default)]
pub(crate) struct Hashes(BTreeMap<String, u64>);

/// FNV-1a in 64 bits (G. Fowler, L. Noll, K.-P. Vo).
fn fnv_1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl Hashes {
    /// Hashes the bits of `values`, all NaN being one: processors choose a NaN's sign and payload.
    pub(crate) fn add(&mut self, name: impl Into<String>, values: &[f32]) {
        let bits = |value: &f32| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() };
        self.add_bytes(name, values.iter().flat_map(|value| bits(value).to_le_bytes()));
    }

    /// [`Hashes::add`] in double precision.
    pub(crate) fn add_doubles(&mut self, name: impl Into<String>, values: &[f64]) {
        let bits = |value: &f64| if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
        self.add_bytes(name, values.iter().flat_map(|value| bits(value).to_le_bytes()));
    }

    /// Hashes `bytes`.
    pub(crate) fn add_bytes(&mut self, name: impl Into<String>, bytes: impl IntoIterator<Item = u8>) {
        let name = name.into();
        assert!(self.0.insert(name.clone(), fnv_1a(bytes.into_iter())).is_none(), "{name} is there twice");
    }

    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (hash, name) = line.split_once(' ').expect("a hash and a name");
            (name.to_owned(), u64::from_str_radix(hash, 16).expect("hexadecimal digits"))
        };
        Self(text.lines().map(line).collect())
    }

    /// A line for each name whose hash is another one in `other`, or that is only in one of both.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let hash =
            |hashes: &Self, name| hashes.0.get(name).map_or("nothing".into(), |hash| format!("{hash:016x}"));
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| format!("{name}: {} and {}", hash(self, name), hash(other, name)))
            .collect()
    }
}

impl fmt::Display for Hashes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, hash)| writeln!(formatter, "{hash:016x} {name}"))
    }
}
