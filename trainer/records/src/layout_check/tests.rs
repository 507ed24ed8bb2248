//! Pictures are told apart; what is no picture is left alone.

use proptest::prelude::*;

use super::*;

const IMAGES: u64 = 32;

fn check(shape: Shape, images: &[Vec<u8>]) -> LayoutCheck {
    let mut check = LayoutCheck::new(shape);
    images.iter().for_each(|image| check.add(image));
    check
}

/// Images in HWC, given by their values at (row, column, channel).
fn images(shape: Shape, mut value: impl FnMut(u64, u32, u32, u32) -> u8) -> Vec<Vec<u8>> {
    let Shape { height, width, channels } = shape;
    let mut image = |number| {
        let pixels = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let values =
            pixels.flat_map(|(row, column)| (0..channels).map(move |channel| (row, column, channel)));
        values.map(|(row, column, channel)| value(number, row, column, channel)).collect()
    };
    (0..IMAGES).map(&mut image).collect()
}

/// Soft spots of random colours: four by four random values, and straight lines between them.
fn pictures(shape: Shape, seed: u64, is_grey: bool) -> Vec<Vec<u8>> {
    let knot = |image: u64, row: u32, column: u32, channel: u32| {
        let channel = if is_grey { 0 } else { channel };
        f64::from(noise(seed, image, row, column, channel))
    };
    images(shape, |image, row, column, channel| {
        let place = |at: u32, size: u32| f64::from(at) * 3.0 / f64::from(size);
        let (down, right) = (place(row, shape.height), place(column, shape.width));
        let (top, left) = (down.floor(), right.floor());
        let at = |row: f64, column: f64| knot(image, row as u32, column as u32, channel);
        let between = |a: f64, b: f64, part: f64| a + (b - a) * part;
        let upper = between(at(top, left), at(top, left + 1.0), right - left);
        let lower = between(at(top + 1.0, left), at(top + 1.0, left + 1.0), right - left);
        between(upper, lower, down - top) as u8
    })
}

fn noise(seed: u64, image: u64, row: u32, column: u32, channel: u32) -> u8 {
    let place = (u64::from(row) << 40) | (u64::from(column) << 20) | u64::from(channel);
    let mut hash =
        seed ^ image.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93);
    for _ in 0..2 {
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    (hash >> 56) as u8
}

fn in_chw(shape: Shape, images: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let channels = shape.channels as usize;
    let planes = |image: &Vec<u8>| {
        (0..channels).flat_map(|channel| image.iter().skip(channel).step_by(channels).copied()).collect()
    };
    images.iter().map(planes).collect()
}

fn verdicts(shape: Shape, images: &[Vec<u8>]) -> [Verdict; 2] {
    let check = check(shape, images);
    [Layout::Hwc, Layout::Chw].map(|layout| check.finding(layout).verdict)
}

const HWC: [Verdict; 2] = [Verdict::Agrees, Verdict::Contradicts];
const CHW: [Verdict; 2] = [Verdict::Contradicts, Verdict::Agrees];
const NEITHER: [Verdict; 2] = [Verdict::Undecided; 2];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pictures_are_known_by_their_layout(
        seed: u64, height in 20u32..50, width in 20u32..50, channels in 3u32..5, is_grey: bool,
    ) {
        let shape = Shape { height, width, channels };
        let pictures = pictures(shape, seed, is_grey);
        prop_assert_eq!(verdicts(shape, &pictures), HWC);
        prop_assert_eq!(verdicts(shape, &in_chw(shape, &pictures)), CHW);
    }

    /// Refusing good data is worse than not noticing bad data.
    #[test]
    fn noise_of_any_size_is_never_judged(
        seed: u64, height in 1u32..40, width in 1u32..40, channels in 1u32..5, is_grey: bool,
    ) {
        let shape = Shape { height, width, channels };
        let images = images(shape, |image, row, column, channel| {
            noise(seed, image, row, column, if is_grey { 0 } else { channel })
        });
        let both = [verdicts(shape, &images), verdicts(shape, &in_chw(shape, &images))];
        // Of few pixels anything may be true by chance.
        if height.min(width) >= 12 {
            prop_assert_eq!(both, [NEITHER; 2]);
        }
    }

    #[test]
    fn stripes_and_plain_colours_are_never_contradicted_in_hwc(
        seed: u64, height in 4u32..40, width in 4u32..40, is_grey: bool, along_rows: bool, plain: bool,
    ) {
        let shape = Shape { height, width, channels: 3 };
        let images = images(shape, |image, row, column, channel| {
            let line = if plain { 0 } else if along_rows { row } else { column };
            noise(seed, image, line, 0, if is_grey { 0 } else { channel })
        });
        prop_assert_ne!(verdicts(shape, &images)[0], Verdict::Contradicts);
    }

    #[test]
    fn images_of_one_channel_fit_both_layouts(seed: u64, side in 1u32..40) {
        let shape = Shape { height: side, width: side, channels: 1 };
        prop_assert_eq!(verdicts(shape, &pictures(shape, seed, false)), NEITHER);
    }

    #[test]
    fn parts_merged_in_any_order_are_the_whole(seed: u64, cut in 0usize..32, channels in 1u32..5) {
        let shape = Shape { height: 9, width: 7, channels };
        let pictures = pictures(shape, seed, false);
        let (first, second) = pictures.split_at(cut);
        let mut merged = check(shape, second);
        merged.merge(&check(shape, first));
        prop_assert_eq!(merged, check(shape, &pictures));
    }

    #[test]
    fn images_of_any_bytes_and_sizes_are_taken(
        bytes in prop::collection::vec(any::<u8>(), 0..64), height in 0u32..5, width in 0u32..5, channels in 0u32..5,
    ) {
        let finding = check(Shape { height, width, channels }, &[bytes]).finding(Layout::Hwc);
        prop_assert_eq!(finding.verdict, Verdict::Undecided);
        prop_assert!((0.0..=255.0).contains(&finding.declared_difference));
    }
}

#[test]
fn few_pictures_are_not_judged() {
    let shape = Shape { height: 32, width: 32, channels: 3 };
    let pictures = pictures(shape, 1, false);
    assert_eq!(verdicts(shape, &pictures[..MIN_IMAGES as usize]), HWC);
    assert_eq!(verdicts(shape, &pictures[1..MIN_IMAGES as usize]), NEITHER);
}

#[test]
fn a_finding_says_what_was_measured() {
    let shape = Shape { height: 2, width: 2, channels: 2 };
    // In HWC: channel 0 is 0 4 / 8 12, channel 1 is 2 6 / 10 14.
    let finding = check(shape, &[vec![0, 2, 4, 6, 8, 10, 12, 14]]).finding(Layout::Chw);
    assert_eq!((finding.declared_difference, finding.other_difference), (3.0, 6.0));
    assert_eq!(
        finding.to_string(),
        "in 1 images, neighbouring pixels differ by 3.0 on average read as CHW, and by 6.0 read as HWC"
    );
}
