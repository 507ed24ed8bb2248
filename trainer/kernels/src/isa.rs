//! Which vector instructions compute. The choice changes the speed, never a bit.

use std::fmt;
use std::str::FromStr;

use crate::simd::{self, Simd};

/// A set of vector instructions that this CPU has: to hold one is the proof that it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The name of no instruction set, or of one that this CPU lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Neither `avx512`, `avx2` nor `portable`.
    Unknown {
        /// The name.
        name: String,
    },
    /// The CPU has not got it.
    Unavailable {
        /// The name.
        name: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => {
                write!(formatter, "{name:?} is no instruction set; choose avx512, avx2 or portable")
            }
            Self::Unavailable { name } => write!(formatter, "this CPU has no {name}; choose another or none"),
        }
    }
}

impl std::error::Error for Error {}

impl Isa {
    /// Rust's own arithmetic: on every CPU.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// The fastest this CPU has.
    pub fn best() -> Self {
        // The portable set is always there.
        Self::available().first().copied().unwrap_or(Self::PORTABLE)
    }

    /// All this CPU has, fastest first.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("fma")
            {
                sets.push(Self(Set::Avx512));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self(Set::Avx2));
            }
        }
        sets.push(Self::PORTABLE);
        sets
    }

    /// As it is written: `avx512`, `avx2`, `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Portable => "portable",
        }
    }

    /// Computes `kernel` with these instructions.
    #[allow(dead_code, reason = "the kernels use it")]
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: `Isa` holds a set only after the CPU was seen to have it.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { with_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { with_avx2(kernel) },
            // SAFETY: needs no instruction that a CPU could lack.
            Set::Portable => unsafe { kernel.run::<simd::Portable>() },
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        if !["avx512", "avx2", "portable"].contains(&name) {
            return Err(Error::Unknown { name: name.to_owned() });
        }
        let found = Self::available().into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| Error::Unavailable { name: name.to_owned() })
    }
}

/// A computation written once for all instruction sets: its arguments are its fields.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// To be marked `#[inline(always)]`, and so everything it calls with `S`: only inlined into a function with the
    /// instruction set's target features does it become that set's code.
    ///
    /// # Safety
    /// The CPU has `S`'s instructions.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has the features of this function.
    unsafe { kernel.run::<simd::Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller has the features of this function.
    unsafe { kernel.run::<simd::Avx2>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_is_found_by_its_name_and_others_are_refused() {
        for isa in Isa::available() {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert_eq!("AVX-512".parse::<Isa>(), Err(Error::Unknown { name: "AVX-512".into() }));
        assert_eq!(Isa::available().last(), Some(&Isa::PORTABLE));
    }
}
