//! What was packed comes out, and what is no whole stream never passes for one.

use std::io::Write;

use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zlib];

fn pack(content: &[u8], compression: Compression) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match compression {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// In pieces of `piece` bytes, as storage gives it.
fn unpacked(file: &[u8], piece: usize, compression: Compression, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = io::BufReader::with_capacity(piece, file);
    unpack(file, compression, limit).read_to_end(&mut content).map(|_| content)
}

fn ours(error: &io::Error) -> Option<Error> {
    error.get_ref()?.downcast_ref().copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_comes_out_in_pieces_of_any_size(
        content in prop::collection::vec(0u8..4, 0..5000), piece in 1usize..300,
    ) {
        for compression in BOTH {
            let file = pack(&content, compression);
            prop_assert_eq!(Compression::detect(&file), Some(compression));
            prop_assert_eq!(&unpacked(&file, piece, compression, content.len() as u64).unwrap(), &content);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_an_error(content in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..300) {
        for compression in BOTH {
            let file = pack(&content, compression);
            for end in 0..file.len() {
                // Not even a member of gzip: no file at all.
                if end == 0 && compression == Compression::Gzip {
                    continue;
                }
                prop_assert!(unpacked(&file[..end], piece, compression, 1 << 20).is_err(), "{} at {}", compression, end);
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_the_content(content in prop::collection::vec(any::<u8>(), 1..200), bit: prop::sample::Index) {
        for compression in BOTH {
            let mut file = pack(&content, compression);
            let bit = bit.index(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            // gzip's header has a time and a system that nothing depends on.
            if let Ok(found) = unpacked(&file, 64, compression, 1 << 20) {
                prop_assert_eq!(&found, &content);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_bounded_content(file in prop::collection::vec(any::<u8>(), 0..300)) {
        Compression::detect(&file);
        for compression in BOTH {
            if let Ok(content) = unpacked(&file, 64, compression, 1000) {
                prop_assert!(content.len() <= 1000);
            }
        }
    }

    #[test]
    fn a_record_of_any_length_is_no_compressed_file(length in 0usize..70_000) {
        let mut shard = Vec::new();
        framing::append(&vec![0; length], &mut shard);
        prop_assert_eq!(Compression::detect(&shard), None);
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    for compression in BOTH {
        let bomb = pack(&vec![0; 10 << 20], compression);
        assert!(bomb.len() < 100_000);
        let error = unpacked(&bomb, 4096, compression, 1 << 20).unwrap_err();
        assert_eq!(ours(&error), Some(Error::TooLarge { limit: 1 << 20 }));
    }
}

#[test]
fn files_of_gzip_in_a_row_are_one_and_other_bytes_behind_a_stream_are_an_error() {
    let [gzip, zlib] = BOTH.map(|compression| pack(b"content", compression));
    let twice = [&gzip[..], &gzip].concat();
    assert_eq!(unpacked(&twice, 5, Compression::Gzip, 100).unwrap(), b"contentcontent");
    assert!(unpacked(&[&gzip[..], b"x"].concat(), 5, Compression::Gzip, 100).is_err());
    let error = unpacked(&[&zlib[..], b"x"].concat(), 5, Compression::Zlib, 100).unwrap_err();
    assert_eq!(ours(&error), Some(Error::Trailing));
}

#[test]
fn a_truncated_zlib_stream_is_told_as_such() {
    let zlib = pack(b"content", Compression::Zlib);
    let error = unpacked(&zlib[..zlib.len() - 1], 100, Compression::Zlib, 100).unwrap_err();
    assert_eq!(ours(&error), Some(Error::Truncated));
}
