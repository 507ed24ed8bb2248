//! Small folders of arrays, whole and in every way not what they should be. Real NumPy's files are in the interoperability
//! test.

use super::{arrays::integer, *};
use crate::{Shape, prepare::Error};

fn npy(descr: &str, order: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let size = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &size[..], header.as_bytes(), values].concat()
}

fn bytes(shape: &str, count: usize) -> Vec<u8> {
    npy("|u1", "False", shape, &(0..count).map(|at| at as u8).collect::<Vec<_>>())
}

/// Four training images and two test images of 2x4x3.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x_train.npy", bytes("(4, 2, 4, 3)", 96)),
        ("y_train.npy", npy("<i8", "False", "(4,)", &[0i64, 2, 1, 0].map(i64::to_le_bytes).concat())),
        ("x_test.npy", bytes("(2, 2, 4, 3)", 48)),
        ("y_test.npy", npy(">u2", "False", "(2, 1)", &[1u16, 2].map(u16::to_be_bytes).concat())),
        ("notes.txt", b"left alone".to_vec()),
    ]
}

fn open_files(files: &[(&str, Vec<u8>)], options: &NumpyOptions) -> Result<Source> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    open(folder.path(), options)
}

fn refusal(files: &[(&str, Vec<u8>)]) -> Error {
    open_files(files, &NumpyOptions::default()).map(drop).unwrap_err()
}

fn replaced(name: &'static str, content: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = files();
    files.iter_mut().find(|(found, _)| *found == name).unwrap().1 = content;
    files
}

fn all(images: &dyn Images, shape: Shape) -> Vec<(u32, Vec<u8>)> {
    let mut pixels = vec![0; shape.bytes()];
    (0..images.len()).map(|i| (images.read(i, &mut pixels).unwrap(), pixels.clone())).collect()
}

#[test]
fn images_labels_and_classes_are_read_from_their_places() {
    let source = open_files(&files(), &NumpyOptions::default()).unwrap();
    assert_eq!(source.shape, Shape { height: 2, width: 4, channels: 3 });
    assert_eq!(source.classes, ["0", "1", "2"]);
    let [("train", train), ("test", test)] = &source.splits[..] else { panic!("splits") };
    let images = all(&**train, source.shape);
    assert_eq!(images[1], (2, (24..48).collect()));
    assert_eq!(images.iter().map(|(label, _)| *label).collect::<Vec<_>>(), train.labels().unwrap());
    assert_eq!(all(&**test, source.shape)[1], (2, (24..48).collect()));
    let named = NumpyOptions { classes: Some(vec!["a".to_owned(); 4]), ..NumpyOptions::default() };
    assert_eq!(open_files(&files(), &named).unwrap().classes.len(), 4);
}

#[test]
fn planes_are_interleaved_and_grey_images_have_one_channel() {
    let planar = replaced("x_train.npy", bytes("(4, 3, 2, 4)", 96));
    let planar = [&planar[..2], &[]].concat();
    let source = open_files(&planar, &NumpyOptions::default()).unwrap();
    assert_eq!(source.shape, Shape { height: 2, width: 4, channels: 3 });
    assert_eq!(all(&*source.splits[0].1, source.shape)[0].1[..6], [0, 8, 16, 1, 9, 17]);

    let grey = [("images.npy", bytes("(4, 6, 4)", 96)), ("labels.npy", files()[1].1.clone())];
    let source = open_files(&grey, &NumpyOptions::default()).unwrap();
    assert_eq!(source.shape, Shape { height: 6, width: 4, channels: 1 });
}

#[test]
fn a_shape_that_can_be_read_in_two_ways_needs_the_layout() {
    for (shape, nhwc, nchw) in
        [("(4, 3, 8, 1)", [3, 8, 1], [8, 1, 3]), ("(4, 2, 6, 2)", [2, 6, 2], [6, 2, 2])]
    {
        let files = replaced("x_train.npy", bytes(shape, 96));
        let files = &files[..2];
        let error = refusal(files).to_string();
        assert!(error.contains("x_train.npy") && error.contains("layout"), "{error}");
        for (layout, [height, width, channels]) in [(BatchLayout::Nhwc, nhwc), (BatchLayout::Nchw, nchw)] {
            let options = NumpyOptions { layout: Some(layout), classes: None };
            let found = open_files(files, &options).unwrap().shape;
            assert_eq!(found, Shape { height, width, channels });
        }
    }
}

#[test]
fn names_say_what_an_array_holds() {
    for (stem, expected) in [
        ("x_train", Some(("train", Content::Images))),
        ("Train-Images", Some(("train", Content::Images))),
        ("test_y", Some(("test", Content::Labels))),
        ("labels_validation", Some(("validation", Content::Labels))),
        ("x", Some(("train", Content::Images))),
        ("labels", Some(("train", Content::Labels))),
        ("train", None),
        ("x_train_2", None),
        ("data", None),
        ("", None),
    ] {
        assert_eq!(role(stem), expected, "{stem}");
    }
    let mut both = files();
    both.push(("train_images.npy", both[0].1.clone()));
    assert!(refusal(&both).to_string().contains("holds the same"));
    let mut unknown = files();
    unknown.push(("extra.npy", Vec::new()));
    assert!(refusal(&unknown).to_string().contains("extra.npy"));
    let mut packed = files();
    packed.push(("cifar.npz", Vec::new()));
    assert!(refusal(&packed).to_string().contains("numpy.save"));
    for (missing, name) in [(0, "x_train.npy"), (1, "y_train.npy"), (2, "x_test.npy"), (3, "y_test.npy")] {
        let mut files = files();
        files.remove(missing);
        assert!(matches!(refusal(&files), Error::MissingFile { name: found, .. } if found == name));
    }
}

/// Each message says what to do in NumPy.
#[test]
fn arrays_of_another_type_order_or_shape_are_refused_with_the_remedy() {
    for (name, content, remedy) in [
        ("x_train.npy", npy("<f4", "False", "(4, 1, 2, 3)", &[0; 96]), "255 * x"),
        ("x_train.npy", npy("<i8", "False", "(4, 1, 1, 3)", &[0; 96]), "astype(numpy.uint8)"),
        ("x_train.npy", npy("|u1", "True", "(4, 2, 4, 3)", &[0; 96]), "ascontiguousarray"),
        ("x_train.npy", bytes("(96,)", 96), "3 or 4"),
        ("x_train.npy", bytes("()", 1), "0 dimensions"),
        ("x_train.npy", bytes("(4, 0, 4, 3)", 0), "0x4x3"),
        ("x_train.npy", bytes("(0, 9999999999, 4, 3)", 0), "too large"),
        ("x_train.npy", bytes("(0, 9999999999, 9999999999, 3)", 0), "too large"),
        ("y_train.npy", npy("<f8", "False", "(4,)", &[0; 32]), "astype(numpy.int64)"),
        ("y_train.npy", npy("|u1", "False", "(4, 3)", &[0; 12]), "argmax"),
        ("y_train.npy", npy("|u1", "False", "(4, 1, 1)", &[0; 4]), "3 dimensions"),
        ("y_train.npy", npy("|O", "False", "(4,)", &[0; 4]), "not numbers"),
        ("y_train.npy", npy("|u1", "False", "(3,)", &[0; 3]), "3 labels for 4 images"),
        ("x_test.npy", bytes("(2, 2, 4, 1)", 16), "2x4x1"),
        ("x_test.npy", b"PK\x03\x04".to_vec(), "does not begin"),
    ] {
        let error = refusal(&replaced(name, content)).to_string();
        assert!(error.contains(name) && error.contains(remedy), "{error}");
    }
}

#[test]
fn a_label_that_is_no_class_is_reported_with_its_place() {
    let labels = |values: [i64; 4]| npy("<i8", "False", "(4,)", &values.map(i64::to_le_bytes).concat());
    let start = labels([0; 4]).len() as u64 - 32;
    for (values, at, wrong) in [([0, -1, 0, 0], 1, -1), ([0, 0, 0, 1 << 40], 3, 1 << 40)] {
        match refusal(&replaced("y_train.npy", labels(values))) {
            Error::Label { file, offset, label, .. } => {
                assert!(file.ends_with("y_train.npy"));
                assert_eq!((offset, label), (start + 8 * at, wrong));
            }
            other => panic!("{other:?}"),
        }
    }
    let named = NumpyOptions { classes: Some(vec!["a".to_owned(); 2]), ..NumpyOptions::default() };
    assert!(matches!(open_files(&files(), &named).map(drop), Err(Error::Label { label: 2, classes: 2, .. })));
}

#[test]
fn a_file_cut_or_lengthened_is_reported_by_name() {
    for (number, (name, content)) in files().iter().enumerate().take(4) {
        for end in (0..content.len()).chain([content.len() + 1]) {
            let mut files = files();
            files[number].1.resize(end, 0);
            let message = refusal(&files).to_string();
            assert!(message.contains(name), "{name} of {end} bytes: {message}");
        }
    }
}

#[test]
fn integers_of_every_width_and_order_are_themselves() {
    assert_eq!(integer(&[0xfe], true, false), -2);
    assert_eq!(integer(&[0xfe], false, true), 254);
    for value in [0_i64, 1, -1, 300, -70_000, i64::MAX, i64::MIN] {
        assert_eq!(integer(&value.to_le_bytes(), true, false), value);
        assert_eq!(integer(&value.to_be_bytes(), true, true), value);
    }
    assert_eq!(integer(&(-2_i32).to_be_bytes(), true, true), -2);
    assert_eq!(integer(&u64::MAX.to_le_bytes(), false, false), i64::MAX);
}
