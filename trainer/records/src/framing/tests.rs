//! Every cut and every flipped bit of a shard must be found.

use proptest::prelude::*;

use super::*;

fn shard(records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|data| append(data, &mut bytes));
    bytes
}

/// A thing and the offset of its record.
type At<T> = (u64, T);

/// Offsets and data of all records, then the offset and error that ended the walk, if any.
fn walk(bytes: &[u8]) -> (Vec<At<Vec<u8>>>, Option<At<Error>>) {
    let mut frames = Frames::new(bytes);
    let mut records = Vec::new();
    loop {
        match frames.next_record() {
            Ok(Some(data)) => {
                let data = data.to_vec();
                records.push((frames.offset(), data));
            }
            Ok(None) => return (records, None),
            Err(error) => return (records, Some((frames.offset(), error))),
        }
    }
}

/// RFC 3720, B.4 gives crc32c of 32 zero bytes as 0x8a9136aa; the mask is TensorFlow's.
#[test]
fn the_checksum_is_tensorflows() {
    assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    // A record without data, as TensorFlow writes it.
    assert_eq!(shard(&[&[]])[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x03, 0x98, 0x07]);
}

#[test]
fn a_cut_anywhere_but_between_records_is_reported_at_the_record_it_cuts() {
    let bytes = shard(&[b"first", b"", b"the third one"]);
    let starts = [0, 21, 37, 66];
    assert_eq!(bytes.len(), 66);
    for end in 0..=bytes.len() {
        let (records, stopped) = walk(&bytes[..end]);
        let whole = starts.iter().filter(|start| **start <= end && **start > 0).count();
        assert_eq!(records.len(), whole, "cut at {end}");
        match stopped {
            None => assert!(starts.contains(&end), "cut at {end} went unnoticed"),
            Some((offset, Error::Truncated { .. })) => assert_eq!(offset, starts[whole] as u64),
            Some((_, error)) => panic!("cut at {end}: {error}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_reported_at_its_record() {
    let bytes = shard(&[b"first", b"second record"]);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (records, stopped) = walk(&damaged);
        let (offset, error) = stopped.expect("a flipped bit went unnoticed");
        let expected = if bit / 8 < 21 { 0 } else { 21 };
        assert_eq!((offset, records.len()), (expected, expected as usize / 21), "bit {bit}: {error}");
        let frame = if expected == 0 { &damaged[..21] } else { &damaged[21..] };
        assert!(decode(frame).is_err(), "bit {bit}");
    }
}

#[test]
fn an_absurd_length_with_a_right_checksum_takes_no_memory() {
    for length in [MAX_DATA_BYTES + 1, u64::MAX - 3, u64::MAX] {
        let length = length.to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend_from_slice(&masked_crc(&length).to_le_bytes());
        bytes.extend_from_slice(&[0; 64]);
        assert!(matches!(walk(&bytes).1, Some((0, Error::TooLong { .. }))));
        assert!(matches!(decode(&bytes), Err(Error::TooLong { .. })));
    }
    // The longest length allowed, with nothing behind it: only what arrived is kept.
    let length = MAX_DATA_BYTES.to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend_from_slice(&masked_crc(&length).to_le_bytes());
    let mut frames = Frames::new(&bytes[..]);
    assert!(matches!(frames.next_record(), Err(Error::Truncated { .. })));
    assert!(frames.buffer.capacity() < 1 << 16);
}

#[test]
fn a_frame_of_another_length_than_the_index_says_is_refused() {
    let mut bytes = shard(&[b"data"]);
    bytes.push(0);
    assert!(matches!(decode(&bytes), Err(Error::Length { found: 20, indexed: 21 })));
}

proptest! {
    #[test]
    fn what_was_appended_is_read_back(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let bytes = shard(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (found, stopped) = walk(&bytes);
        prop_assert!(stopped.is_none());
        for ((offset, data), expected) in found.iter().zip(&records) {
            prop_assert_eq!(data, expected);
            let frame = &bytes[*offset as usize..][..expected.len() + OVERHEAD_BYTES];
            prop_assert_eq!(decode(frame).unwrap(), expected.as_slice());
        }
        prop_assert_eq!(found.len(), records.len());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        walk(&bytes);
    }
}
