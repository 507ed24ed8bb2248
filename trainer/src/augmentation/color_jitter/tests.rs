use lockstep_rng::Domain;
use proptest::prelude::*;

use super::*;

const STILL: ResolvedColorJitter = ResolvedColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0 };

fn adjust(adjustments: Adjustments, channels: usize, image: &[u8]) -> Vec<u8> {
    let mut pixels = image.to_vec();
    apply(&adjustments, channels, &mut pixels);
    pixels
}

fn only(operation: Operation, factor: i64) -> Adjustments {
    let others =
        [Operation::Brightness, Operation::Contrast, Operation::Saturation].map(|other| (other, ONE));
    others.map(|(other, one)| (other, if other == operation { factor } else { one }))
}

/// The draws are part of every augmented job's result. Computed once by other code from the definition.
#[test]
fn draws_are_pinned_by_golden_values() {
    use Operation::{Brightness, Contrast, Saturation};
    let rule = ResolvedColorJitter { brightness: 0.4, contrast: 0.3, saturation: 1.0 };
    let mut stream = Stream::new(42, Domain::Augmentation, 3, 7);
    let golden = [(Brightness, 63_709), (Saturation, 28_827), (Contrast, 65_211)];
    assert_eq!(draw(rule, &mut stream), golden);
    assert_ne!(draw(rule, &mut stream), golden);
}

#[test]
fn black_grey_and_twice_as_much_are_what_the_definition_says() {
    let image = [10, 100, 200, 60, 60, 60];
    assert_eq!(adjust(only(Operation::Brightness, 0), 3, &image), [0; 6]);
    assert_eq!(adjust(only(Operation::Brightness, 2 * ONE), 3, &image), [20, 200, 255, 120, 120, 120]);
    // Greys 84 and 60, their mean 72.
    assert_eq!(adjust(only(Operation::Contrast, 0), 3, &image), [72; 6]);
    assert_eq!(adjust(only(Operation::Contrast, ONE / 2), 3, &image), [41, 86, 136, 66, 66, 66]);
    assert_eq!(adjust(only(Operation::Saturation, 0), 3, &image), [84, 84, 84, 60, 60, 60]);
    assert_eq!(adjust(only(Operation::Saturation, 2 * ONE), 3, &image), [0, 116, 255, 60, 60, 60]);
    assert_eq!(adjust(only(Operation::Saturation, 0), 1, &image), image);
    assert_eq!(adjust(only(Operation::Contrast, 0), 1, &image), [82; 6]);
}

#[test]
fn every_order_occurs_and_factors_fill_their_range() {
    let rule = ResolvedColorJitter { brightness: 0.5, contrast: 1.0, saturation: 0.0 };
    let mut stream = Stream::new(1, Domain::Augmentation, 0, 0);
    let draws: Vec<_> = (0..600).map(|_| draw(rule, &mut stream)).collect();
    let orders: std::collections::BTreeSet<_> =
        draws.iter().map(|draw| draw.map(|(operation, _)| operation as u8)).collect();
    assert_eq!(orders.len(), 6);
    let factors = |wanted| {
        let found = draws.iter().flatten().filter(move |(operation, _)| *operation == wanted);
        let found = found.map(|(_, factor)| *factor);
        (found.clone().min().unwrap(), found.max().unwrap())
    };
    let (low, high) = factors(Operation::Brightness);
    assert!((ONE / 2..ONE * 6 / 10).contains(&low) && (ONE * 14 / 10..=ONE * 3 / 2).contains(&high));
    let (low, high) = factors(Operation::Contrast);
    assert!((0..ONE / 10).contains(&low) && (ONE * 19 / 10..=ONE * 2).contains(&high));
    assert_eq!(factors(Operation::Saturation), (ONE, ONE));
}

proptest! {
    /// Pillow's arithmetic, but in f64 and rounded: what is computed in integers is the nearest byte.
    #[test]
    fn a_blend_is_the_nearest_value(value: u8, towards: u8, factor in 0..=2 * ONE) {
        let factor_f64 = factor as f64 / ONE as f64;
        let exact = factor_f64 * f64::from(value) + (1.0 - factor_f64) * f64::from(towards);
        let found = f64::from(blend(value, towards, factor));
        prop_assert!((found - exact.clamp(0.0, 255.0)).abs() <= 0.5, "{} is not {}", found, exact);
    }

    #[test]
    fn the_grey_of_a_grey_pixel_is_itself(value: u8) {
        prop_assert_eq!(grey([value; 3]), value);
    }

    #[test]
    fn no_strength_is_no_change(seed: u64, image in prop::collection::vec(any::<u8>(), 0..20)) {
        let image: Vec<u8> = image.iter().flat_map(|value| [*value, value / 2, 255 - value]).collect();
        let adjustments = draw(STILL, &mut Stream::new(seed, Domain::Augmentation, 0, 0));
        prop_assert_eq!(adjust(adjustments, 3, &image), image);
    }
}
