use lockstep_crds::resolved::ResolvedColorJitter;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const ALL: ResolvedAugmentation =
    ResolvedAugmentation { horizontal_flip: true, translate_pixels: 2, cutout_pixels: 2, color_jitter: None };
const NONE: ResolvedAugmentation = ResolvedAugmentation {
    horizontal_flip: false,
    translate_pixels: 0,
    cutout_pixels: 0,
    color_jitter: None,
};
const JITTER: ResolvedColorJitter = ResolvedColorJitter { brightness: 0.4, contrast: 0.3, saturation: 1.0 };

fn image(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 % 255 + 1) as u8).collect()
}

fn augmentation(
    rule: ResolvedAugmentation,
    seed: u64,
    (height, width, channels): (usize, usize, usize),
) -> Augmentation {
    Augmentation::new(rule, seed, height, width, channels).unwrap()
}

fn changed(augmentation: &Augmentation, epoch: u32, position: u64, image: &[u8]) -> Vec<u8> {
    let mut changed = Vec::new();
    augmentation.append(epoch, position, image, &mut changed);
    changed
}

/// The draws are part of every augmented job's result. Computed once by other code from the definition.
#[test]
fn changes_are_pinned_by_golden_values() {
    let rule = ResolvedAugmentation { translate_pixels: 4, cutout_pixels: 8, ..ALL };
    let augmentation = augmentation(rule, 42, (32, 32, 3));
    let found: Vec<_> = [(0, 0), (0, 1), (3, 1), (9, 49_999)]
        .map(|(epoch, position)| augmentation.draw(epoch, position))
        .iter()
        .map(|Change { colors: _, mirrored, moved, square }| format!("{mirrored} {moved:?} {square:?}"))
        .collect();
    assert_eq!(found, GOLDEN);
}
const GOLDEN: [&str; 4] = [
    "false (0, -2) Some((8, 9, 8))",
    "false (1, -4) Some((17, 20, 8))",
    "true (-2, -4) Some((3, 8, 8))",
    "false (-3, -4) Some((20, 2, 8))",
];

/// Whole images, on every CPU. Computed once by other code from the definition.
#[test]
fn changed_images_are_pinned_by_a_golden_hash() {
    let rule = ResolvedAugmentation { cutout_pixels: 4, color_jitter: Some(JITTER), ..ALL };
    let augmentation = augmentation(rule, 42, (8, 9, 3));
    let image = image(8 * 9 * 3);
    let mut hash = Sha256::new();
    for epoch in 0..4 {
        (0..64).for_each(|position| hash.update(changed(&augmentation, epoch, position, &image)));
    }
    let golden = "1022c2d119b9ee9e9924657b7f6fbf1a24bc089d3a6d7bf5655f5ed0d78d265d";
    assert_eq!(hex::encode(hash.finalize()), golden);
}

/// What moves in and what is cut out stays black, however bright the image becomes.
#[test]
fn a_color_jitter_leaves_the_other_changes_as_they_were() {
    let plain = augmentation(ALL, 5, (8, 9, 3));
    let jittered = augmentation(ResolvedAugmentation { color_jitter: Some(JITTER), ..ALL }, 5, (8, 9, 3));
    for position in 0..200 {
        let (Change { colors, mirrored, moved, square }, before) =
            (jittered.draw(1, position), plain.draw(1, position));
        assert!(colors.is_some());
        assert_eq!(Change { colors: None, mirrored, moved, square }, before);
        let white = [255; 8 * 9 * 3];
        let (black, jittered) =
            (changed(&plain, 1, position, &white), changed(&jittered, 1, position, &white));
        assert!(black.iter().zip(&jittered).all(|(plain, jittered)| *plain > 0 || *jittered == 0));
    }
}

#[test]
fn colors_of_images_that_have_no_grey_are_refused() {
    let jitter = ResolvedAugmentation { color_jitter: Some(JITTER), ..NONE };
    for channels in [2, 4] {
        let error = Augmentation::new(jitter, 0, 8, 8, channels).unwrap_err().to_string();
        assert!(error.contains("colorJitter") && error.contains(&channels.to_string()), "{error}");
        assert!(Augmentation::new(ALL, 0, 8, 8, channels).is_ok());
    }
    assert!(Augmentation::new(jitter, 0, 8, 8, 1).is_ok());
}

/// A picture that one can check by eye: 3 x 4 pixels of one byte.
#[test]
fn an_image_is_mirrored_then_moved_then_cut() {
    let augmentation = augmentation(ALL, 0, (3, 4, 1));
    #[rustfmt::skip]
    let image = [
        1, 2, 3, 4,
        5, 6, 7, 8,
        9, 10, 11, 12,
    ];
    let mut output = [0; 12];
    let change = Change { colors: None, mirrored: true, moved: (1, -1), square: Some((2, 1, 2)) };
    augmentation.apply(change, &image, &mut output);
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 0,
        3, 2, 1, 0,
        7, 0, 0, 0,
    ];
    assert_eq!(output, expected);
}

#[test]
fn about_half_of_the_images_are_mirrored_and_every_move_and_centre_occurs() {
    let augmentation = augmentation(ALL, 1, (4, 5, 3));
    let changes: Vec<_> = (0..4000).map(|position| augmentation.draw(0, position)).collect();
    let mirrored = changes.iter().filter(|change| change.mirrored).count();
    assert!((1_800..2_200).contains(&mirrored), "{mirrored}");
    let moves: std::collections::BTreeSet<_> = changes.iter().map(|change| change.moved).collect();
    assert_eq!(moves.len(), 25);
    assert!(moves.contains(&(-2, 2)) && moves.contains(&(2, -2)));
    let squares: std::collections::BTreeSet<_> = changes.iter().map(|change| change.square).collect();
    assert_eq!(squares.len(), 20);
}

#[test]
fn seed_epoch_and_position_all_change_the_draw() {
    let draws = |seed, epoch, position| {
        let augmentation = augmentation(ALL, seed, (32, 32, 3));
        (0..8_u64).map(|next| augmentation.draw(epoch, position + next)).collect::<Vec<_>>()
    };
    let base = draws(1, 2, 100);
    assert_eq!(base, draws(1, 2, 100));
    for other in [draws(2, 2, 100), draws(1, 3, 100), draws(1, 2, 200)] {
        assert_ne!(base, other);
    }
}

proptest! {
    /// Pixel by pixel from the definition, for sizes and moves that leave nothing of the image too.
    #[test]
    fn every_pixel_is_the_definitions(
        (height, width, channels) in (1_usize..7, 1_usize..7, 1_usize..4),
        mirrored: bool, down in -8_i64..8, right in -8_i64..8,
        square in prop::option::of((-4_i64..7, -4_i64..7, 1_i64..9)),
    ) {
        let augmentation = augmentation(ALL, 0, (height, width, channels));
        let image = image(height * width * channels);
        let mut output = vec![0; image.len()];
        let change = Change { colors: None, mirrored, moved: (down, right), square };
        augmentation.apply(change, &image, &mut output);
        for row in 0..height as i64 {
            for column in 0..width as i64 {
                let (from_row, moved) = (row - down, column - right);
                let from_column = if mirrored { width as i64 - 1 - moved } else { moved };
                let inside = (0..height as i64).contains(&from_row) && (0..width as i64).contains(&from_column);
                let black = square.is_some_and(|(top, left, side)| {
                    (top..top + side).contains(&row) && (left..left + side).contains(&column)
                });
                for channel in 0..channels {
                    let at = |row: i64, column: i64| (row as usize * width + column as usize) * channels + channel;
                    let expected = if inside && !black { image[at(from_row, from_column)] } else { 0 };
                    prop_assert_eq!(output[at(row, column)], expected, "row {} column {}", row, column);
                }
            }
        }
    }

    #[test]
    fn any_rule_keeps_the_length_and_appends(
        horizontal_flip: bool, translate_pixels in 0_u32..=256, cutout_pixels in 0_u32..=256,
        jitter in prop::option::of((0.0..=1.0, 0.0..=1.0, 0.0..=1.0)),
        seed: u64, epoch: u32, position: u64, (height, width) in (1_usize..9, 1_usize..9),
    ) {
        let color_jitter = jitter.map(|(brightness, contrast, saturation)| {
            ResolvedColorJitter { brightness, contrast, saturation }
        });
        let rule = ResolvedAugmentation { horizontal_flip, translate_pixels, cutout_pixels, color_jitter };
        let augmentation = augmentation(rule, seed, (height, width, 3));
        let image = image(height * width * 3);
        let mut pixels = vec![9; 5];
        augmentation.append(epoch, position, &image, &mut pixels);
        prop_assert_eq!(pixels.len(), 5 + image.len());
        prop_assert_eq!(&pixels[..5], &[9; 5]);
        prop_assert_eq!(&pixels[5..], &changed(&augmentation, epoch, position, &image)[..]);
    }

    #[test]
    fn a_rule_that_asks_for_nothing_changes_nothing(seed: u64, epoch: u32, position: u64) {
        let image = image(5 * 4 * 3);
        prop_assert_eq!(changed(&augmentation(NONE, seed, (5, 4, 3)), epoch, position, &image), image);
    }
}
