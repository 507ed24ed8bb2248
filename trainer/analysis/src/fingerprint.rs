//! Which images are the same: a digest of each image's pixels, and where it stands.

use lockstep_records::Shape;

/// Bytes that an image takes in memory and in a part's file until all are compared.
pub const BYTES: usize = 32;

/// An image: digest first, so that sorting brings equal ones together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The first half of BLAKE3 over the decoded image, row by row, the channels of a pixel together, and its size.
    /// Among a billion images two different ones share a digest with a probability below 2^-67.
    pub digest: [u8; 16],
    /// Place in the split's list of shards.
    pub shard: u32,
    /// Where the record begins in it, in bytes.
    pub offset: u64,
    /// The record's class.
    pub label: u32,
}

impl Fingerprint {
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let Self { digest, shard, offset, label } = self;
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&digest);
        bytes[16..20].copy_from_slice(&shard.to_le_bytes());
        bytes[20..28].copy_from_slice(&offset.to_le_bytes());
        bytes[28..].copy_from_slice(&label.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        fn part<const N: usize>(bytes: &[u8; BYTES], at: usize) -> [u8; N] {
            std::array::from_fn(|byte| bytes[at + byte])
        }
        Self {
            digest: part(bytes, 0),
            shard: u32::from_le_bytes(part(bytes, 16)),
            offset: u64::from_le_bytes(part(bytes, 20)),
            label: u32::from_le_bytes(part(bytes, 28)),
        }
    }
}

/// Of an image, row by row, the channels of a pixel together.
pub(crate) fn digest(pixels: &[u8], shape: Shape) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(pixels);
    let Shape { height, width, channels } = shape;
    // Behind the pixels, so that these keep the hash's own alignment.
    hasher.update(&[height, width, channels].map(u32::to_le_bytes).concat());
    let hash = hasher.finalize();
    std::array::from_fn(|byte| hash.as_bytes()[byte])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn images_of_other_sizes_differ_even_with_the_same_bytes() {
        let of = |height, width| digest(&[7; 12], Shape { height, width, channels: 1 });
        assert_ne!(of(3, 4), of(4, 3));
        assert_eq!(of(3, 4), of(3, 4));
    }

    proptest! {
        #[test]
        fn a_fingerprint_comes_back(digest: [u8; 16], shard: u32, offset: u64, label: u32) {
            let fingerprint = Fingerprint { digest, shard, offset, label };
            prop_assert_eq!(Fingerprint::from_bytes(&fingerprint.to_bytes()), fingerprint);
        }
    }
}
