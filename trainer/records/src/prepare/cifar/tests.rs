//! A small archive of the official layout, whole and damaged in every way.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::prepare::{Error, source::Images};

const SMALL: Contents = small(CIFAR10);
const FOLDER: &str = CIFAR10.folder;
const RECORD_BYTES: u64 = CIFAR10.record.bytes() as u64;

const fn small(official: Contents) -> Contents {
    let Contents { format, folder, train, test, record, classes } = official;
    let (train, test) = (Files { records: 3, ..train }, Files { records: 3, ..test });
    Contents { format, folder, train, test, record, classes }
}

/// Record `i` of a file has these labels, and each byte says where it stands.
fn file(labels: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let record = |i: usize| {
        let planes = (0..3 * PLANE_BYTES).map(move |at| (at / PLANE_BYTES * 100 + at % 97 + i) as u8);
        labels(i).into_iter().chain(planes)
    };
    (0..3).flat_map(record).collect()
}

/// Label `(i + 3 * file) % 10`.
fn files() -> Vec<(String, Vec<u8>)> {
    let names = CIFAR10.train.names.iter().chain(CIFAR10.test.names).enumerate();
    let content = |number| file(move |i| vec![((i + 3 * number) % 10) as u8]);
    names.map(|(number, name)| ((*name).to_owned(), content(number))).collect()
}

/// CIFAR-100's files: coarse label `i`, fine label `50 + i` and, for the test split, `60 + i`.
fn files_100() -> Vec<(String, Vec<u8>)> {
    let names =
        |kind: &str, count| (0..count).map(|i| format!("{kind}_{i}\n")).collect::<String>().into_bytes();
    let records = |fine: u8| file(move |i| vec![i as u8, fine + i as u8]);
    let files = [
        ("coarse_label_names.txt", names("coarse", 20)),
        ("fine_label_names.txt", [names("fine", 100), b"\n".to_vec()].concat()),
        ("train.bin", records(50)),
        ("test.bin", records(60)),
    ];
    files.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let readme = ("readme.html".to_owned(), b"<p>not a batch".to_vec());
    for (name, bytes) in std::iter::once(&readme).chain(files) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{FOLDER}/{name}"), &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn open_bytes(bytes: &[u8]) -> Result<Source> {
    open_bytes_as(&SMALL, bytes)
}

fn open_bytes_as(contents: &Contents, bytes: &[u8]) -> Result<Source> {
    let mut packed = tempfile::NamedTempFile::new().unwrap();
    packed.write_all(bytes).unwrap();
    open(packed.path(), contents)
}

fn all(source: &Source) -> Vec<(u32, Vec<u8>)> {
    let mut pixels = vec![0; SHAPE.bytes()];
    let images = source.splits.iter().flat_map(|(_, images)| (0..images.len()).map(move |i| (images, i)));
    images.map(|(images, i)| (images.read(i, &mut pixels).unwrap(), pixels.clone())).collect()
}

fn refusal(files: &[(String, Vec<u8>)]) -> Error {
    open_bytes(&archive(files)).map(|_| ()).unwrap_err()
}

/// Why the image of a wrong label cannot be read, nor the labels of all.
fn label_refusal((_, images): &(&str, Arc<dyn Images>), index: usize) -> Error {
    let error = images.read(index, &mut vec![0; SHAPE.bytes()]).unwrap_err();
    assert_eq!(images.labels().unwrap_err().to_string(), error.to_string());
    assert!(error.is_of_one_image());
    error
}

#[test]
fn archive_and_folder_give_the_same_images_in_hwc() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
    for (name, bytes) in files() {
        std::fs::write(folder.path().join(FOLDER).join(name), bytes).unwrap();
    }
    let sources = [
        open_bytes(&archive(&files())).unwrap(),
        open(folder.path(), &SMALL).unwrap(),
        open(&folder.path().join(FOLDER), &SMALL).unwrap(),
    ];
    for source in sources {
        let [("train", train), ("test", test)] = &source.splits[..] else { panic!("splits") };
        assert_eq!((train.len(), test.len()), (15, 3));
        let mut pixels = vec![0; SHAPE.bytes()];
        assert_eq!(train.read(7, &mut pixels).unwrap(), 7);
        // Record 1 of the third file; its pixel 200 in red, green and blue.
        let value = |plane: usize| {
            ((plane * PLANE_BYTES + 200) / PLANE_BYTES * 100 + (plane * PLANE_BYTES + 200) % 97 + 1) as u8
        };
        assert_eq!(pixels[600..603], [value(0), value(1), value(2)]);
        assert_eq!(test.read(0, &mut pixels).unwrap(), 5);
    }
}

#[test]
fn an_archive_cut_anywhere_is_never_taken_for_whole() {
    let whole = archive(&files());
    for end in (0..whole.len()).step_by(97).chain(whole.len() - 12..whole.len()) {
        let error = open_bytes(&whole[..end]).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Unpack { .. } | Error::MissingFile { .. }), "cut at {end}: {error:?}");
    }
}

/// Gzip's own checksum stands behind the last file, so the archive must be read to its end. A few bits of a deflate
/// stream (padding, lengths of unused codes) say nothing: then the content must be the same.
#[test]
fn a_damaged_archive_is_never_taken_for_whole() {
    let whole = archive(&files());
    let content = all(&open_bytes(&whole).unwrap());
    let mut refused = 0;
    // The header's time, flags and system (bytes 4 to 9) say nothing about the content.
    for byte in (0..4).chain((10..whole.len()).step_by(61)) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        match open_bytes(&damaged) {
            Err(_) => refused += 1,
            Ok(source) => assert_eq!(all(&source), content, "byte {byte}"),
        }
    }
    assert!(refused * 61 > whole.len() * 9 / 10, "{refused} of {} bytes, every 61st", whole.len());
    for byte in whole.len() - 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        assert!(open_bytes(&damaged).is_err(), "byte {byte} of the checksum and size");
    }
}

#[test]
fn a_label_above_nine_is_reported_with_file_and_offset() {
    let mut files = files();
    files[3].1[2 * RECORD_BYTES as usize] = 10;
    let source = open_bytes(&archive(&files)).unwrap();
    match label_refusal(&source.splits[0], 3 * 3 + 2) {
        Error::Label { file, offset: 6146, label: 10, classes: 10 } => {
            assert!(file.ends_with("data_batch_4.bin"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_wrong_labels_are_named_when_the_images_are_to_be_divided() {
    let mut files = files();
    for (file, record) in [(0, 1), (4, 2)] {
        files[file].1[record * RECORD_BYTES as usize] = 10;
    }
    let source = open_bytes(&archive(&files)).unwrap();
    let message = source.splits[0].1.labels().unwrap_err().to_string();
    let places = ["data_batch_1.bin: the label at byte 3073", "data_batch_5.bin: the label at byte 6146"];
    assert!(places.iter().all(|place| message.contains(place)), "{message}");
}

#[test]
fn a_file_that_is_short_long_or_missing_is_reported_by_name() {
    for (bytes, offset) in [(0, 0), (3072, 0), (3073, 3073), (9218, 6146), (9220, 9219)] {
        let mut files = files();
        files[5].1.resize(bytes, 0);
        match refusal(&files) {
            Error::FileSize { file, found, expected: 9219, offset: at } => {
                assert!(file.ends_with("test_batch.bin"));
                assert_eq!((found, at), (bytes as u64, offset));
            }
            other => panic!("{other:?}"),
        }
    }
    let mut files = files();
    files.remove(1);
    assert!(matches!(refusal(&files), Error::MissingFile { name, .. } if name == "data_batch_2.bin"));
}

#[test]
fn what_is_wrong_in_a_folder_is_found_before_anything_is_written_and_what_goes_wrong_later_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = open(folder.path(), &SMALL).unwrap();
    let last = folder.path().join("test_batch.bin");
    let mut bytes = std::fs::read(&last).unwrap();
    let spoilt = |bytes: &[u8]| {
        std::fs::write(&last, bytes).unwrap();
        open(folder.path(), &SMALL).map(drop).unwrap_err()
    };
    bytes.truncate(bytes.len() - 1);
    assert!(matches!(spoilt(&bytes), Error::FileSize { found: 9218, offset: 6146, .. }));
    // It was whole when it was opened.
    let (_, test) = &source.splits[1];
    let mut pixels = vec![0; SHAPE.bytes()];
    test.read(1, &mut pixels).unwrap();
    let error = test.read(2, &mut pixels).unwrap_err();
    assert!(matches!(&error, Error::ReadSource { path, .. } if *path == last), "{error:?}");
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(matches!(open_bytes(b"PK\x03\x04 a zip file").map(|_| ()), Err(Error::Unpack { .. })));
    assert!(matches!(open(Path::new("/no/such/archive"), &SMALL).map(|_| ()), Err(Error::ReadSource { .. })));
}

#[test]
fn fine_and_coarse_labels_of_cifar_100_have_the_names_that_the_archive_lists() {
    let packed = archive(&files_100());
    for (labels, first, classes) in [(Cifar100Labels::Fine, 50, 100), (Cifar100Labels::Coarse, 0, 20)] {
        let source = open_bytes_as(&small(cifar100(labels)), &packed).unwrap();
        assert_eq!((source.format, source.classes.len()), ("cifar100", classes));
        let kind = if classes == 100 { "fine" } else { "coarse" };
        assert_eq!(source.classes[7], format!("{kind}_7"));
        let [("train", train), ("test", test)] = &source.splits[..] else { panic!("splits") };
        let mut pixels = vec![0; SHAPE.bytes()];
        let labels = |images: &Arc<dyn Images>, pixels: &mut [u8]| {
            (0..images.len()).map(|i| images.read(i, pixels).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(labels(train, &mut pixels), [first, first + 1, first + 2]);
        assert_eq!(labels(test, &mut pixels)[0], if classes == 100 { 60 } else { 0 });
        // Pixel 200 of the last record, in red, green and blue.
        let value = |plane: usize| (plane * 100 + (plane * PLANE_BYTES + 200) % 97 + 2) as u8;
        assert_eq!(pixels[600..603], [value(0), value(1), value(2)]);
    }
}

#[test]
fn what_is_wrong_in_an_archive_of_cifar_100_is_named() {
    let open = |labels, spoil: fn(&mut Vec<(String, Vec<u8>)>)| {
        let mut files = files_100();
        spoil(&mut files);
        open_bytes_as(&small(cifar100(labels)), &archive(&files))
    };
    let (fine, coarse) = (Cifar100Labels::Fine, Cifar100Labels::Coarse);
    let source = open(fine, |files| files[2].1[3074 + 1] = 100).unwrap();
    let error = label_refusal(&source.splits[0], 1);
    assert!(matches!(&error, Error::Label { offset: 3075, label: 100, classes: 100, .. }), "{error:?}");
    let source = open(coarse, |files| files[3].1[2 * 3074] = 20).unwrap();
    let error = label_refusal(&source.splits[1], 2);
    assert!(matches!(&error, Error::Label { offset: 6148, label: 20, classes: 20, .. }), "{error:?}");
    let refusal = |labels, spoil| open(labels, spoil).map(drop).unwrap_err();
    let error = refusal(fine, |files| drop(files.remove(1)));
    assert!(matches!(&error, Error::MissingFile { name, .. } if name == "fine_label_names.txt"), "{error:?}");
    let error = refusal(coarse, |files| files[0].1 = b"one\ntwo\n".to_vec()).to_string();
    assert!(error.contains("coarse_label_names.txt") && error.contains("2 names"), "{error}");
    let error = refusal(coarse, |files| files[0].1 = b"same\n".repeat(20)).to_string();
    assert!(error.contains("twice"), "{error}");
    // CIFAR-10's archive, given as CIFAR-100's.
    let error = open_bytes_as(&small(cifar100(fine)), &archive(&files())).map(drop).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { .. }), "{error:?}");
}
