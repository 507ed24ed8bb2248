//! The flat buffer: all parameters, gradients or moments of a model in one aligned run of `f32`.

use std::ops::{Deref, DerefMut};

use sha2::{Digest, Sha256};

/// Bytes to which a buffer and every tensor in it are aligned: a cache line and the widest vector register.
pub const ALIGNMENT: usize = 64;

/// `f32` values per [`ALIGNMENT`].
pub(crate) const LANES: usize = ALIGNMENT / size_of::<f32>();

/// A fixed number of `f32`, the first one at an address that is a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub struct FlatBuffer {
    /// Longer than the buffer, so that an aligned start lies within.
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl FlatBuffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let storage = vec![0.0; len + LANES - 1];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        assert!(start < LANES, "an f32 address is a multiple of four bytes");
        Self { storage, start, len }
    }
}

impl From<&[f32]> for FlatBuffer {
    fn from(values: &[f32]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl Clone for FlatBuffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for FlatBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for FlatBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

/// Rounds a length up so that what follows it is aligned.
pub(crate) const fn aligned(len: usize) -> usize {
    len.next_multiple_of(LANES)
}

/// Adds the values' bits to a digest, little-endian.
pub(crate) fn digest_values(digest: &mut Sha256, values: &[f32]) {
    each_bytes(values, &mut |bytes| digest.update(bytes));
}

/// The values' bits, little-endian, in pieces that are long enough for hashes by vectors.
pub(crate) fn each_bytes(values: &[f32], take: &mut impl FnMut(&[u8])) {
    let mut bytes = [0_u8; 16 << 10];
    for values in values.chunks(bytes.len() / size_of::<f32>()) {
        let bytes = &mut bytes[..size_of_val(values)];
        for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        take(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vector loads and a library's BLAS may take another path, with other bits, at other alignments.
    #[test]
    fn buffers_of_every_length_are_aligned_also_when_cloned_and_moved() {
        let mut kept = Vec::new();
        for len in 0..100 {
            let mut buffer = FlatBuffer::zeros(len);
            buffer.iter_mut().enumerate().for_each(|(index, value)| *value = index as f32);
            let clone = buffer.clone();
            assert_eq!(*clone, *buffer);
            assert_eq!(buffer.len(), len);
            kept.push(buffer);
            kept.push(clone);
        }
        for buffer in &kept {
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
        }
    }

    #[test]
    fn the_digest_is_over_little_endian_bits() {
        let values: Vec<f32> = (0..3000).map(|index| index as f32 * -0.5).collect();
        let mut digest = Sha256::new();
        digest_values(&mut digest, &values);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
        assert_eq!(digest.finalize(), Sha256::digest(bytes));
    }
}
