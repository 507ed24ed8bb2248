//! Folders of real image files, and each thing that is refused.

use image::{GrayImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;
use crate::prepare::Error;

/// A folder with two classes of 4x3 images: PNG and BMP (both lossless).
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, red) in [("cat", 10), ("ant", 200)] {
        for split in ["train", "test"] {
            let path = folder.path().join(split).join(class);
            std::fs::create_dir_all(&path).unwrap();
            image(red).save_with_format(path.join("b.png"), ImageFormat::Png).unwrap();
            image(red + 1).save_with_format(path.join("a"), ImageFormat::Bmp).unwrap();
        }
    }
    std::fs::write(folder.path().join(".DS_Store"), b"the system's own").unwrap();
    folder
}

fn image(red: u8) -> RgbImage {
    RgbImage::from_fn(4, 3, |x, y| Rgb([red, x as u8, y as u8]))
}

fn all(images: &dyn Images, bytes: usize) -> Result<Vec<(u32, Vec<u8>)>> {
    let mut pixels = vec![0; bytes];
    (0..images.len()).map(|i| Ok((images.read(i, &mut pixels)?, pixels.clone()))).collect()
}

/// Everything that opening and reading all images says against a folder.
fn refusal(folder: &Path, options: &ImageOptions) -> Error {
    let read = open(folder, options).and_then(|source| {
        source.splits.iter().try_for_each(|(_, images)| all(&**images, source.shape.bytes()).map(drop))
    });
    read.unwrap_err()
}

#[test]
fn classes_are_labelled_in_alphabetical_order_whatever_the_format_and_name_of_the_files() {
    let folder = folder();
    let source = open(folder.path(), &ImageOptions::default()).unwrap();
    assert_eq!(source.classes, ["ant", "cat"]);
    assert_eq!(source.shape, Shape { height: 3, width: 4, channels: 3 });
    let names: Vec<_> = source.splits.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["train", "test"]);
    let mut found = all(&*source.splits[0].1, 36).unwrap();
    found.sort();
    let expected = [(0, 200), (0, 201), (1, 10), (1, 11)].map(|(label, red)| (label, image(red).into_raw()));
    assert_eq!(found, expected);
}

#[test]
fn without_train_and_test_the_folder_itself_is_the_training_split() {
    let folder = folder();
    let source = open(&folder.path().join("test"), &ImageOptions::default()).unwrap();
    let [("train", train)] = &source.splits[..] else { panic!("splits") };
    assert_eq!((train.len(), &source.classes[..]), (4, &["ant".to_owned(), "cat".to_owned()][..]));
}

#[test]
fn records_are_not_sorted_by_class() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        for i in 0..20 {
            image(i)
                .save_with_format(folder.path().join(class).join(format!("{i:02}")), ImageFormat::Png)
                .unwrap();
        }
    }
    let source = open(folder.path(), &ImageOptions::default()).unwrap();
    let labels: Vec<_> = all(&*source.splits[0].1, 36).unwrap().into_iter().map(|(label, _)| label).collect();
    let changes = labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 8, "{labels:?}");
    let again = open(folder.path(), &ImageOptions::default()).unwrap();
    let labels_again = all(&*again.splits[0].1, 36).unwrap().into_iter().map(|(label, _)| label);
    assert_eq!(labels_again.collect::<Vec<_>>(), labels);
}

#[test]
fn an_image_of_another_size_is_named_and_fits_once_a_size_is_given() {
    let folder = folder();
    let odd = folder.path().join("train/cat/c.png");
    RgbImage::from_pixel(9, 7, Rgb([1, 2, 3])).save(&odd).unwrap();
    match refusal(folder.path(), &ImageOptions::default()) {
        Error::ImageSize { path, found_width: 9, found_height: 7, width: 4, height: 3 } => {
            assert_eq!(path, odd)
        }
        other => panic!("{other:?}"),
    }
    let options = ImageOptions { resize: Some((2, 5)), ..ImageOptions::default() };
    let source = open(folder.path(), &options).unwrap();
    assert_eq!(source.shape, Shape { height: 5, width: 2, channels: 3 });
    let found = all(&*source.splits[0].1, 30).unwrap();
    assert!(found.iter().any(|(_, pixels)| pixels.chunks(3).all(|pixel| pixel == [1, 2, 3])));
}

#[test]
fn grey_folders_have_one_channel_and_colour_in_them_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("x")).unwrap();
    GrayImage::from_pixel(4, 3, image::Luma([7])).save(folder.path().join("x/a.png")).unwrap();
    let grey = open(folder.path(), &ImageOptions::default()).unwrap();
    assert_eq!(grey.shape.channels, 1);
    assert_eq!(all(&*grey.splits[0].1, 12).unwrap(), [(0, vec![7; 12])]);
    image(50).save(folder.path().join("x/b.png")).unwrap();
    let error = refusal(folder.path(), &ImageOptions::default());
    assert!(matches!(&error, Error::Image { path, .. } if path.ends_with("x/b.png")), "{error:?}");
    let colour = open(folder.path(), &ImageOptions { channels: Some(3), ..ImageOptions::default() }).unwrap();
    assert!(all(&*colour.splits[0].1, 36).unwrap().contains(&(0, vec![7; 36])));
    assert!(open(folder.path(), &ImageOptions { channels: Some(2), ..ImageOptions::default() }).is_err());
}

#[test]
fn what_is_no_image_or_out_of_place_is_named() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 8] = [
        ("train/cat/notes.txt", |path| std::fs::write(path, b"no image").unwrap()),
        ("train/cat/broken.png", |path| {
            let whole = std::fs::read(path.with_file_name("b.png")).unwrap();
            std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
        }),
        ("train/cat/glass.png", |path| {
            RgbaImage::from_pixel(4, 3, Rgba([1, 2, 3, 254])).save(path).unwrap();
        }),
        ("train/cat/deeper", |path| std::fs::create_dir(path).unwrap()),
        ("train/empty", |path| std::fs::create_dir(path).unwrap()),
        ("train/stray.png", |path| image(1).save(path).unwrap()),
        ("test/dog", |path| std::fs::create_dir(path).unwrap()),
        ("other", |path| std::fs::create_dir(path).unwrap()),
    ];
    for (name, spoil) in cases {
        let folder = folder();
        spoil(&folder.path().join(name));
        let message = refusal(folder.path(), &ImageOptions::default()).to_string();
        assert!(message.contains(name), "{name}: {message}");
    }
    assert!(
        refusal(tempfile::tempdir().unwrap().path(), &ImageOptions::default()).to_string().contains("class")
    );
}

/// The first image by name decides nothing that another could: a torn first one is named, and so is the next.
#[test]
fn a_first_image_that_cannot_be_read_does_not_hide_the_others() {
    let folder = folder();
    std::fs::write(folder.path().join("train/ant/_first.png"), b"torn").unwrap();
    let source = open(folder.path(), &ImageOptions::default()).unwrap();
    assert_eq!(source.shape, Shape { height: 3, width: 4, channels: 3 });
    let train = &source.splits[0].1;
    let mut pixels = vec![0; 36];
    let refused = (0..train.len()).filter(|index| train.read(*index, &mut pixels).is_err()).count();
    assert_eq!((train.len(), refused), (5, 1));
}

#[test]
fn a_validation_folder_is_a_split_by_either_name() {
    for name in ["val", "validation"] {
        let folder = folder();
        std::fs::rename(folder.path().join("test"), folder.path().join(name)).unwrap();
        let source = open(folder.path(), &ImageOptions::default()).unwrap();
        let names: Vec<_> = source.splits.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["train", "validation"]);
        std::fs::create_dir(folder.path().join(if name == "val" { "validation" } else { "val" })).unwrap();
        assert!(open(folder.path(), &ImageOptions::default()).is_err());
    }
}

/// A background is the user's word for what transparent places are.
#[test]
fn transparent_images_are_taken_with_a_background() {
    let folder = folder();
    let glass = folder.path().join("train/cat/glass.png");
    RgbaImage::from_pixel(4, 3, Rgba([1, 2, 3, 0])).save(&glass).unwrap();
    let white = ImageOptions { background: Some([255; 3]), ..ImageOptions::default() };
    let source = open(folder.path(), &white).unwrap();
    assert!(all(&*source.splits[0].1, 36).unwrap().contains(&(1, vec![255; 36])));
}

#[test]
fn fits_of_another_size_are_those_that_are_asked_for() {
    let folder = folder();
    for (fit, corner) in [(Fit::Cover, [200, 1, 0]), (Fit::Contain, [9, 9, 9])] {
        let options =
            ImageOptions { resize: Some((3, 4)), fit, background: Some([9; 3]), ..ImageOptions::default() };
        let source = open(folder.path(), &options).unwrap();
        assert_eq!(source.shape, Shape { height: 4, width: 3, channels: 3 });
        let images = all(&*source.splits[0].1, 36).unwrap();
        let ant = images.iter().map(|(_, pixels)| &pixels[..3]).find(|pixel| pixel[0] == corner[0]);
        assert!(ant.is_some(), "{fit:?}: {images:?}");
    }
}
