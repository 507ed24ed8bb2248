use proptest::prelude::*;

use super::*;

/// A shard of these records, and its index.
fn shard(records: &[Vec<u8>]) -> (Vec<u8>, Lengths) {
    let (mut bytes, mut lengths) = (Vec::new(), Lengths::default());
    for data in records {
        framing::append(data, &mut bytes);
        assert!(lengths.push((data.len() + OVERHEAD_BYTES) as u64));
    }
    (bytes, lengths)
}

fn records(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 10 + usize::from(number)]).collect()
}

/// Everything that the scanner finds when the bytes come in blocks of this size.
fn all(mut scanner: Scanner<'_>, bytes: &[u8], block: usize) -> (Vec<(u64, Bytes)>, Vec<Damage>) {
    let (mut intact, mut damaged) = (Vec::new(), Vec::new());
    let mut take = |scanner: &mut Scanner<'_>| {
        while let Some(found) = scanner.next_found() {
            match found {
                Found::Record { offset, data } => intact.push((offset, data)),
                Found::Damage(damage) => damaged.push(damage),
            }
        }
    };
    for block in bytes.chunks(block) {
        scanner.push(Bytes::copy_from_slice(block));
        take(&mut scanner);
    }
    scanner.end();
    take(&mut scanner);
    assert!(scanner.next_found().is_none(), "it has an end");
    (intact, damaged)
}

#[test]
fn damaged_data_hides_no_other_record() {
    let (mut bytes, lengths) = shard(&records(5));
    let offset = lengths.locate(2).unwrap().0;
    bytes[offset as usize + HEADER_BYTES] ^= 1;
    for scanner in [Scanner::new(), Scanner::indexed(&lengths, 0..5)] {
        let (intact, damaged) = all(scanner, &bytes, 7);
        assert_eq!(intact.len(), 4);
        assert!(matches!(damaged[..], [Damage { source: Error::DataChecksum { .. }, .. }]), "{damaged:?}");
        assert_eq!((damaged[0].offset, damaged[0].bytes, damaged[0].records), (offset, 28, 1));
    }
}

#[test]
fn a_damaged_length_hides_the_rest_unless_there_is_an_index() {
    let (mut bytes, lengths) = shard(&records(5));
    let offset = lengths.locate(2).unwrap().0;
    bytes[offset as usize] ^= 1;
    let (intact, damaged) = all(Scanner::new(), &bytes, 1000);
    assert_eq!(intact.len(), 2);
    assert!(matches!(damaged[..], [Damage { source: Error::LengthChecksum { .. }, .. }]), "{damaged:?}");
    assert_eq!((damaged[0].offset, damaged[0].bytes), (offset, bytes.len() as u64 - offset));

    let (intact, damaged) = all(Scanner::indexed(&lengths, 0..5), &bytes, 1000);
    assert_eq!(intact.len(), 4);
    assert_eq!((damaged.len(), damaged[0].offset, damaged[0].bytes), (1, offset, 28));
}

#[test]
fn a_shard_that_ends_early_is_one_damage_that_counts_what_is_lost() {
    let (bytes, lengths) = shard(&records(5));
    let offset = lengths.locate(2).unwrap().0;
    for left in [0, 5, 20] {
        let cut = &bytes[..offset as usize + left];
        let (intact, damaged) = all(Scanner::indexed(&lengths, 0..5), cut, 9);
        assert_eq!((intact.len(), damaged.len()), (2, 1), "{left} bytes of it are left");
        let Damage { offset: at, bytes: unread, records, source } = &damaged[0];
        assert_eq!((*at, *unread, *records), (offset, left as u64, 3));
        assert!(matches!(source, Error::Truncated { .. }), "{source:?}");
    }
    // Without an index a cut between two records cannot be told from the end.
    assert!(all(Scanner::new(), &bytes[..offset as usize], 9).1.is_empty());
    let (_, damaged) = all(Scanner::new(), &bytes[..offset as usize + 20], 9);
    assert!(matches!(damaged[0].source, Error::Truncated { wanted: 28, found: 20 }), "{damaged:?}");
}

#[test]
fn records_of_another_length_than_the_index_says_are_damage() {
    let (bytes, _) = shard(&[vec![1; 10], vec![2; 10], vec![3; 10]]);
    let (_, lengths) = shard(&[vec![1; 10], vec![2; 9], vec![3; 10]]);
    let (intact, damaged) = all(Scanner::indexed(&lengths, 0..3), &bytes, 1000);
    assert_eq!(intact.len(), 1);
    assert!(matches!(damaged[0].source, Error::Length { .. }), "{damaged:?}");
}

#[test]
fn bytes_behind_the_index_are_read_as_records() {
    let (bytes, _) = shard(&records(5));
    let (_, lengths) = shard(&records(3));
    assert_eq!(all(Scanner::indexed(&lengths, 0..3), &bytes, 11).0.len(), 5);
}

#[test]
fn a_length_is_never_asked_for_beyond_the_limit() {
    let mut scanner = Scanner::new();
    let length = (framing::MAX_DATA_BYTES + 1).to_le_bytes();
    let header = [&length[..], &framing::masked_crc(&length).to_le_bytes()].concat();
    scanner.push(header.into());
    assert_eq!(scanner.missing_bytes(), 0);
    assert!(scanner.next_found().is_none());
    scanner.end();
    assert!(matches!(
        scanner.next_found(),
        Some(Found::Damage(Damage { source: Error::TooLong { .. }, .. }))
    ));
}

proptest! {
    /// Blocks and ranges are a matter of speed only.
    #[test]
    fn every_intact_record_is_found_once_whatever_the_blocks_and_ranges(
        sizes in prop::collection::vec(0usize..60, 0..20),
        block in 1usize..200, cut in 0u64..20, indexed: bool,
    ) {
        let records: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
        let (bytes, lengths) = shard(&records);
        let ranges = match indexed {
            true => {
                let cut = cut.min(lengths.records());
                let at = lengths.locate(cut).map_or(lengths.bytes(), |(offset, _)| offset) as usize;
                let (before, after) = bytes.split_at(at);
                vec![
                    (Scanner::indexed(&lengths, 0..cut), before),
                    (Scanner::indexed(&lengths, cut..lengths.records()), after),
                ]
            }
            false => vec![(Scanner::new(), &bytes[..])],
        };
        let mut found = Vec::new();
        for (scanner, bytes) in ranges {
            let (intact, damaged) = all(scanner, bytes, block);
            prop_assert!(damaged.is_empty());
            found.extend(intact);
        }
        let places = (0..lengths.records()).map(|at| lengths.locate(at).unwrap().0);
        let expected: Vec<_> = places.zip(records.iter().map(|data| Bytes::from(data.clone()))).collect();
        prop_assert_eq!(found, expected);
    }

    /// With an index, one flipped bit costs one record.
    #[test]
    fn a_flipped_bit_damages_one_record_and_names_it(
        count in 1u8..12, flip in any::<prop::sample::Index>(), bit in 0u8..8, block in 1usize..200,
    ) {
        let records = records(count);
        let (mut bytes, lengths) = shard(&records);
        let at = flip.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (intact, damaged) = all(Scanner::indexed(&lengths, 0..lengths.records()), &bytes, block);
        prop_assert_eq!((intact.len(), damaged.len()), (records.len() - 1, 1));
        let Damage { offset, bytes: length, records, .. } = &damaged[0];
        prop_assert!((*offset..*offset + *length).contains(&(at as u64)) && *records == 1);
    }

    #[test]
    fn noise_never_panics_and_every_byte_is_accounted_for(
        bytes in prop::collection::vec(any::<u8>(), 0..300), block in 1usize..100,
    ) {
        let (intact, damaged) = all(Scanner::new(), &bytes, block);
        let read: u64 = intact.iter().map(|(_, data)| (data.len() + OVERHEAD_BYTES) as u64).sum();
        let unread: u64 = damaged.iter().map(|damage| damage.bytes).sum();
        prop_assert_eq!(read + unread, bytes.len() as u64);
    }
}
