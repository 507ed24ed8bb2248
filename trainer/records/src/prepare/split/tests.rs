use proptest::prelude::*;

use super::*;
use crate::{
    Shape,
    prepare::{Error, source::InMemory},
};

fn shares(text: &str) -> Shares {
    text.parse().unwrap()
}

/// `labels` as a source with a training split, and with a test split of two images where `test` says so.
fn source(labels: &[u8], test: bool) -> Source {
    let images = |labels: &[u8]| {
        let pixels = (0..labels.len() as u8).collect();
        Arc::new(InMemory { pixels, labels: labels.to_vec() }) as Arc<dyn Images>
    };
    let mut splits = vec![("train", images(labels))];
    splits.extend(test.then(|| ("test", images(&[0, 1]))));
    Source {
        format: "made",
        name: "up".to_owned(),
        shape: Shape { height: 1, width: 1, channels: 1 },
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        splits,
    }
}

fn sizes(source: &Source) -> Vec<(&'static str, usize)> {
    source.splits.iter().map(|(part, images)| (*part, images.len())).collect()
}

#[test]
fn shares_are_read_exactly_and_in_one_order() {
    let read = shares("test=.1,train=0.7,validation=0.2");
    assert_eq!(read.0, [("train", 700_000_000), ("validation", 200_000_000), ("test", 100_000_000)]);
    assert_eq!(shares("train=0.999999999,test=0.000000001").0[1], ("test", 1));
    for (text, word) in [
        ("train=0.8,test=0.3", "make 1.1"),
        ("train=0.8,dev=0.2", "\"dev\" is not"),
        ("train=0.5,train=0.5", "twice"),
        ("train=0.8,test=20%", "decimal fraction"),
        ("train=0.8,test=0.0", "above 0"),
        ("train=0.8,test=0.2e0", "decimal fraction"),
        ("train=0.8,test=0.2000000000", "at most 9 digits"),
        ("train=1.0", "decimal fraction"),
        ("validation=0.5,test=0.5", "name train"),
        ("0.8", "train=0.8"),
        ("", "train=0.8"),
    ] {
        let message = text.parse::<Shares>().unwrap_err();
        assert!(message.contains(word), "{text}: {message}");
    }
}

#[test]
fn a_training_split_becomes_its_parts_and_a_test_split_stays() {
    let labels: Vec<u8> = (0..30).map(|i| i % 3).collect();
    let split = apply(source(&labels, false), &shares("train=0.8,test=0.2"), 1).unwrap();
    assert_eq!(sizes(&split), [("train", 24), ("test", 6)]);
    let mut test = split.splits[1].1.labels().unwrap();
    test.sort_unstable();
    assert_eq!(test, [0, 0, 1, 1, 2, 2]);

    let with_test = source(&labels, true);
    let split = apply(with_test, &shares("train=0.9,validation=0.1"), 1).unwrap();
    assert_eq!(sizes(&split), [("train", 27), ("validation", 3), ("test", 2)]);
    let mut pixels = [0];
    for (index, label) in split.splits[0].1.labels().unwrap().into_iter().enumerate() {
        assert_eq!(split.splits[0].1.read(index, &mut pixels).unwrap(), label);
        assert_eq!(u32::from(pixels[0] % 3), label, "the picked image's pixels");
    }
}

#[test]
fn a_part_that_is_there_already_or_stays_empty_is_refused() {
    let refusal = |source, text: &str| apply(source, &shares(text), 1).map(drop).unwrap_err();
    let error = refusal(source(&[0, 1, 0, 1], true), "train=0.5,test=0.5");
    assert!(matches!(error, Error::PartExists { part: "test", .. }), "{error:?}");
    let error = refusal(source(&[0, 1, 2], false), "train=0.9,test=0.1");
    assert!(matches!(error, Error::EmptyPart { part: "test", .. }), "{error:?}");
}

/// Where every class's remainder is a half, parts take turns.
#[test]
fn equal_remainders_do_not_add_up_over_the_classes() {
    let labels: Vec<u32> = (0..100).flat_map(|class| [class; 5]).collect();
    let parts = divide(&labels, &[WHOLE * 9 / 10, WHOLE / 10], 1);
    assert_eq!((parts[0].len(), parts[1].len()), (450, 50));
}

#[test]
fn the_seed_chooses_the_images_and_golden_values_pin_them() {
    let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
    let halves = [WHOLE / 2, WHOLE / 2];
    assert_ne!(divide(&labels, &halves, 1), divide(&labels, &halves, 2));
    let parts = divide(&labels[..16], &[WHOLE * 3 / 4, WHOLE / 4], 42);
    assert_eq!(parts[1], GOLDEN);
}
const GOLDEN: [usize; 4] = [2, 3, 9, 12];

fn some_shares() -> impl Strategy<Value = Vec<u64>> {
    (1..WHOLE / 2, 1..WHOLE / 2).prop_map(|(second, third)| vec![WHOLE - second - third, second, third])
}

proptest! {
    /// Every image in exactly one part; every class within one image of its share; nothing depends on chance.
    #[test]
    fn parts_are_disjoint_complete_and_within_one_image_of_each_share(
        labels in prop::collection::vec(0_u32..6, 0..300), shares in some_shares(), seed: u64,
    ) {
        let parts = divide(&labels, &shares, seed);
        let mut all: Vec<usize> = parts.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        for class in 0..6 {
            let size = |images: &mut dyn Iterator<Item = u32>| images.filter(|label| *label == class).count();
            let images = size(&mut labels.iter().copied()) as i128;
            for (part, share) in parts.iter().zip(&shares) {
                let found = size(&mut part.iter().map(|index| labels[*index])) as i128;
                let difference = found * i128::from(WHOLE) - images * i128::from(*share);
                prop_assert!(difference.abs() < i128::from(WHOLE), "{} of {} for {}", found, images, share);
            }
        }
        for part in &parts {
            prop_assert!(part.is_sorted());
        }
        prop_assert_eq!(divide(&labels, &shares, seed), parts);
    }

    /// Nobody with a smaller remainder gets an image that one with a larger one does not.
    #[test]
    fn the_largest_remainders_get_what_is_left(images in 0_u64..1_000_000, shares in some_shares()) {
        let counts = class_counts(images, &shares, &mut [0; 3]);
        prop_assert_eq!(counts.iter().sum::<u64>(), images);
        let parts: Vec<_> = shares.iter().zip(&counts).map(|(share, count)| {
            let quota = u128::from(images) * u128::from(*share);
            let whole = u128::from(WHOLE);
            (quota % whole, u128::from(*count) - quota / whole)
        }).collect();
        for (remainder, more) in &parts {
            prop_assert!(*more <= 1);
            prop_assert!(parts.iter().all(|(other, others)| more <= others || other <= remainder));
        }
    }

    #[test]
    fn noise_never_panics(text in ".{0,40}") {
        let _ = text.parse::<Shares>();
    }
}
