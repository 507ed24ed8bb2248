use tiff::encoder::TiffEncoder;

use super::*;

const COMPRESSION: Tag = Tag::Compression;
const PHOTOMETRIC: Tag = Tag::PhotometricInterpretation;

/// A TIFF of one strip a plane with the tags given, in ascending order where they stand in the file.
fn stored((width, height): (u32, u32), bits: &[u16], tags: &[(Tag, u16)], strips: &[&[u8]]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap();
    let mut directory = encoder.image_directory().unwrap();
    let offsets: Vec<_> = strips.iter().map(|strip| directory.write_data(*strip).unwrap() as u32).collect();
    let lengths: Vec<_> = strips.iter().map(|strip| strip.len() as u32).collect();
    directory.write_tag(Tag::ImageWidth, width).unwrap();
    directory.write_tag(Tag::ImageLength, height).unwrap();
    directory.write_tag(Tag::BitsPerSample, bits).unwrap();
    directory.write_tag(Tag::SamplesPerPixel, bits.len() as u16).unwrap();
    directory.write_tag(Tag::StripOffsets, &offsets[..]).unwrap();
    directory.write_tag(Tag::StripByteCounts, &lengths[..]).unwrap();
    directory.write_tag(Tag::RowsPerStrip, height).unwrap();
    for (tag, value) in tags {
        directory.write_tag(*tag, *value).unwrap();
    }
    directory.finish().unwrap();
    file.into_inner()
}

fn message(file: &[u8]) -> String {
    decode(file).unwrap_err().to_string()
}

#[test]
fn planes_are_put_together() {
    let tags = [(COMPRESSION, 1), (PHOTOMETRIC, 2), (Tag::PlanarConfiguration, 2)];
    let file = stored((2, 1), &[8; 3], &tags, &[&[1, 2], &[11, 12], &[21, 22]]);
    let (image, orientation) = decode(&file).unwrap();
    assert_eq!(image.into_rgb8().into_raw(), [1, 11, 21, 2, 12, 22]);
    assert_eq!(orientation, Orientation::NoTransforms);
}

#[test]
fn bits_become_black_and_white_and_a_row_ends_within_a_byte() {
    let rows: &[u8] = &[0b1010_0000, 0b0100_0000, 0b0101_1111, 0b1111_1111];
    let bright = stored((10, 2), &[1], &[(COMPRESSION, 1), (PHOTOMETRIC, 1)], &[rows]);
    let (image, _) = decode(&bright).unwrap();
    let expected = [255, 0, 255, 0, 0, 0, 0, 0, 0, 255, 0, 255, 0, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(image.into_luma8().into_raw(), expected);
    let inverted = stored((10, 2), &[1], &[(COMPRESSION, 1), (PHOTOMETRIC, 0)], &[rows]);
    let (image, _) = decode(&inverted).unwrap();
    assert_eq!(image.into_luma8().into_raw(), expected.map(|value| 255 - value));
}

#[test]
fn a_file_says_how_it_is_turned() {
    let tags = [(COMPRESSION, 1), (PHOTOMETRIC, 1), (Tag::Orientation, 6)];
    let (_, orientation) = decode(&stored((2, 1), &[8], &tags, &[&[1, 2]])).unwrap();
    assert_eq!(orientation, Orientation::Rotate90);
}

#[test]
fn what_no_picture_here_has_is_named() {
    let jpeg = stored((8, 8), &[8], &[(COMPRESSION, 7), (PHOTOMETRIC, 1)], &[&[0xff, 0xd8, 0xff, 0xd9]]);
    assert!(message(&jpeg).contains("ModernJPEG"), "{}", message(&jpeg));
    let printed = stored((1, 1), &[8; 4], &[(COMPRESSION, 1), (PHOTOMETRIC, 5)], &[&[1, 2, 3, 4]]);
    assert!(message(&printed).contains("neither grey nor RGB"), "{}", message(&printed));
    let large = stored((MAX_SIDE + 1, 1), &[8], &[(COMPRESSION, 1), (PHOTOMETRIC, 1)], &[&[1]]);
    assert!(message(&large).contains("limits"), "{}", message(&large));
}
