//! Residual connections: the sum of two activations, each read through its batch norm.

use crate::activation::{Extent, Reading, read};
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// Writes `a + b`, each read as its [`Reading`] says, then rounded once.
pub fn add(
    isa: Isa,
    extent: Extent,
    (a, reading_a): (&[f32], Reading<'_>),
    (b, reading_b): (&[f32], Reading<'_>),
    output: &mut [f32],
) {
    reading_a.check(&extent);
    reading_b.check(&extent);
    let len = extent.len();
    isa.run(Add { extent, a: (&a[..len], reading_a), b: (&b[..len], reading_b), output: &mut output[..len] });
}

/// Adds `values` to `sums`, element by element.
pub fn accumulate(isa: Isa, values: &[f32], sums: &mut [f32]) {
    assert_eq!(values.len(), sums.len());
    isa.run(Accumulate { values, sums });
}

struct Add<'a> {
    extent: Extent,
    a: (&'a [f32], Reading<'a>),
    b: (&'a [f32], Reading<'a>),
    output: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `add` checked the lengths; the rest is the caller's promise.
        unsafe {
            match (self.a.1.relu, self.b.1.relu) {
                (false, false) => self.all::<S, false, false>(),
                (false, true) => self.all::<S, false, true>(),
                (true, false) => self.all::<S, true, false>(),
                (true, true) => self.all::<S, true, true>(),
            }
        }
    }
}

impl Add<'_> {
    /// # Safety
    /// The slices have the lengths that `add` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn all<S: Simd, const RELU_A: bool, const RELU_B: bool>(self) {
        let Self { extent, a: (a, reading_a), b: (b, reading_b), output } = self;
        for pixel in 0..extent.images * extent.pixels() {
            for lane in (0..extent.channels).step_by(S::LEN) {
                let at = pixel * extent.channels + lane;
                // SAFETY: pixels and lanes inside all slices.
                unsafe {
                    let load = |from: &[f32], at: usize| from.as_ptr().add(at);
                    let scale = S::load(load(reading_a.scale, lane));
                    let shift = S::load(load(reading_a.shift, lane));
                    let first = read::<S, RELU_A>(S::load(load(a, at)), scale, shift);
                    let scale = S::load(load(reading_b.scale, lane));
                    let shift = S::load(load(reading_b.shift, lane));
                    let second = read::<S, RELU_B>(S::load(load(b, at)), scale, shift);
                    S::store(output.as_mut_ptr().add(at), S::add(first, second));
                }
            }
        }
    }
}

struct Accumulate<'a> {
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let whole = self.sums.len() - self.sums.len() % S::LEN;
        for at in (0..whole).step_by(S::LEN) {
            // SAFETY: a whole vector inside both slices, which are of one length.
            unsafe {
                let to = self.sums.as_mut_ptr().add(at);
                S::store(to, S::add(S::load(to), S::load(self.values.as_ptr().add(at))));
            }
        }
        for (sum, &value) in self.sums[whole..].iter_mut().zip(&self.values[whole..]) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::activation::tests::{bits, extents, values};

    proptest! {
        #[test]
        fn sums_are_those_of_what_is_read(
            (extent, channels) in extents(), seed in 0_u64..1000, relu_a: bool, relu_b: bool,
        ) {
            let of = |seed| values(seed, extent.len(), extent.channels, channels, true);
            let vector = |seed| values(seed, extent.channels, extent.channels, channels, false);
            let (a, b, constants) = (of(seed), of(seed + 1), [2, 3, 4, 5].map(|more| vector(seed + more)));
            let reading_a = Reading { scale: &constants[0], shift: &constants[1], relu: relu_a };
            let reading_b = Reading { scale: &constants[2], shift: &constants[3], relu: relu_b };
            let read = |value: f32, reading: &Reading<'_>, channel: usize| {
                let value = value.mul_add(reading.scale[channel], reading.shift[channel]);
                if reading.relu && value < 0.0 { 0.0 } else { value }
            };
            let expected: Vec<f32> = (0..extent.len())
                .map(|at| {
                    let channel = at % extent.channels;
                    read(a[at], &reading_a, channel) + read(b[at], &reading_b, channel)
                })
                .collect();
            for isa in Isa::available() {
                let mut found = vec![-7.0; extent.len()];
                add(isa, extent, (&a, reading_a), (&b, reading_b), &mut found);
                prop_assert_eq!(bits(&found), bits(&expected), "{}", isa);
                let mut sums = b[1..].to_vec();
                accumulate(isa, &a[1..], &mut sums);
                let plain: Vec<f32> = a[1..].iter().zip(&b[1..]).map(|(a, b)| a + b).collect();
                prop_assert_eq!(bits(&sums), bits(&plain));
            }
        }
    }
}
