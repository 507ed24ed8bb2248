//! Small IDX folders, whole and damaged.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::prepare::Error;

fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|size| bytes.extend_from_slice(&size.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn images(count: u8) -> Vec<u8> {
    idx(&[u32::from(count), 2, 3], &(0..count * 6).collect::<Vec<_>>())
}

/// Two splits of 4 and 2 images of 2x3, the training split packed.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train-images-idx3-ubyte.gz", gzip(&images(4))),
        ("train-labels-idx1-ubyte.gz", gzip(&idx(&[4], &[0, 2, 1, 0]))),
        ("t10k-images-idx3-ubyte", images(2)),
        ("t10k-labels-idx1-ubyte", idx(&[2], &[1, 2])),
    ]
}

fn open_files(files: &[(&str, Vec<u8>)], classes: Option<&[&str]>) -> Result<Source> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let classes = classes.map(|classes| classes.iter().map(|class| (*class).to_owned()).collect::<Vec<_>>());
    open(folder.path(), classes.as_deref())
}

fn all(source: &Source) -> Vec<(u32, Vec<u8>)> {
    let mut pixels = vec![0; source.shape.bytes()];
    let images = &source.splits[0].1;
    (0..images.len()).map(|i| (images.read(i, &mut pixels).unwrap(), pixels.clone())).collect()
}

fn refusal(files: &[(&str, Vec<u8>)]) -> Error {
    open_files(files, None).map(|_| ()).unwrap_err()
}

#[test]
fn packed_and_plain_files_give_images_labels_and_classes() {
    let source = open_files(&files(), None).unwrap();
    assert_eq!(source.shape, Shape { height: 2, width: 3, channels: 1 });
    assert_eq!(source.classes, ["0", "1", "2"]);
    let [("train", train), ("test", test)] = &source.splits[..] else { panic!("splits") };
    assert_eq!((train.len(), test.len()), (4, 2));
    let mut pixels = [0; 6];
    assert_eq!(train.read(1, &mut pixels).unwrap(), 2);
    assert_eq!(pixels, [6, 7, 8, 9, 10, 11]);
    assert_eq!(open_files(&files()[..2], Some(&["a", "b", "c", "d"])).unwrap().classes.len(), 4);
}

#[test]
fn other_names_of_the_same_files_are_found_and_ambiguous_ones_refused() {
    let mut emnist = files();
    emnist[0].0 = "emnist-letters-train-images-idx3-ubyte.gz";
    emnist[2].0 = "emnist-letters-test-images-idx3-ubyte";
    emnist[3].0 = "t10k-labels.idx1-ubyte";
    assert_eq!(open_files(&emnist, None).unwrap().splits.len(), 2);

    let mut unpacked_beside = files();
    unpacked_beside.push(("train-images-idx3-ubyte", images(4)));
    assert_eq!(open_files(&unpacked_beside, None).unwrap().splits[0].1.len(), 4);

    let mut two = files();
    two.push(("other-train-images-idx3-ubyte", images(4)));
    assert!(matches!(refusal(&two), Error::Layout { .. }));
}

#[test]
fn a_label_that_is_no_class_is_reported_with_file_and_offset() {
    match open_files(&files(), Some(&["a", "b"])).map(|_| ()).unwrap_err() {
        Error::Label { file, offset: 9, label: 2, classes: 2 } => {
            assert!(file.ends_with("train-labels-idx1-ubyte.gz"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_cut_anywhere_is_reported_by_name() {
    let whole = files();
    for (number, (name, bytes)) in whole.iter().enumerate() {
        for end in 0..bytes.len() {
            let mut files = whole.clone();
            files[number].1.truncate(end);
            let message = refusal(&files).to_string();
            assert!(message.contains(name), "{name} cut at {end}: {message}");
        }
    }
}

#[test]
fn a_packed_file_with_a_flipped_bit_is_refused_unless_the_bit_says_nothing() {
    let whole = files();
    let content = all(&open_files(&whole, None).unwrap());
    let mut refused = 0;
    // Bytes 4 to 9 of a gzip header do not concern the content.
    for byte in (0..4).chain(10..whole[0].1.len()) {
        for bit in 0..8 {
            let mut files = whole.clone();
            files[0].1[byte] ^= 1 << bit;
            match open_files(&files, None) {
                Err(_) => refused += 1,
                Ok(source) => assert_eq!(all(&source), content, "byte {byte}, bit {bit}"),
            }
        }
    }
    assert!(refused > whole[0].1.len() * 6, "{refused} bits of {} bytes", whole[0].1.len());
}

#[test]
fn sizes_that_do_not_agree_are_refused() {
    let replace = |number: usize, bytes: Vec<u8>| {
        let mut files = files();
        files[number].1 = bytes;
        refusal(&files)
    };
    assert!(replace(3, idx(&[3], &[0, 1, 2])).to_string().contains("3 labels for 2 images"));
    assert!(replace(2, idx(&[2, 3, 2], &[0; 12])).to_string().contains("3x2x1"));
    assert!(replace(2, idx(&[u32::MAX, u32::MAX, 9], &[])).to_string().contains("too large"));
    assert!(replace(2, idx(&[0, u32::MAX, u32::MAX, 9], &[])).to_string().contains("too large"));
    assert!(replace(2, idx(&[u32::MAX, 1, 1], &[])).to_string().contains("failed to read"));
    assert!(replace(2, idx(&[2, 0, 3], &[])).to_string().contains("its images are 0x3x1"));
    assert!(replace(2, vec![0, 0, 13, 1, 0, 0, 0, 0]).to_string().contains("magic number"));
    assert!(replace(2, b"not idx".to_vec()).to_string().contains("does not begin"));
    let missing: Vec<_> = files().into_iter().skip(1).collect();
    assert!(matches!(refusal(&missing), Error::MissingFile { .. }));
    assert!(matches!(refusal(&[]), Error::MissingFile { .. }));
}
