use proptest::prelude::*;

use super::*;
use crate::activation::tests::{bits, values};
use crate::padded;

#[derive(Clone, Debug)]
struct Case {
    pool: Pool,
    extent: Extent,
    channels: usize,
    relu: bool,
    stored: Vec<f32>,
    vectors: [Vec<f32>; 3],
    gradients: Vec<f32>,
}

fn cases(special: bool) -> impl Strategy<Value = Case> {
    let window = (1_usize..4, 1_usize..4).prop_flat_map(|(rows, columns)| {
        (Just((rows, columns)), 1_usize..4, rows..rows * 3 + 2, columns..columns * 3 + 2, 1_usize..36)
    });
    let flags = (any::<bool>(), any::<bool>(), 0_u64..10_000);
    (prop_oneof![window, Just(((2, 2), 2, 6, 5, 20))], flags).prop_map(
        move |(((rows, columns), images, height, width, channels), (average, relu, seed))| {
            let kind = if average { Kind::Average } else { Kind::Maximum };
            let pool = Pool { kind, rows, columns };
            let extent = Extent { images, height, width, channels: padded(channels) };
            let output = pool.output(extent).len();
            let of = |more: u64, len| values(seed + more, len, extent.channels, channels, special);
            let vector = |more| values(seed + more, extent.channels, extent.channels, channels, false);
            let mut stored = of(0, extent.len());
            // Few different values, so that there are equal ones in a window.
            stored.iter_mut().filter(|value| value.is_finite()).for_each(|value| *value = value.round());
            let vectors = [vector(3), vector(4), vector(5)];
            Case { pool, extent, channels, relu, stored, vectors, gradients: of(2, output) }
        },
    )
}

impl Case {
    fn reading(&self) -> Reading<'_> {
        Reading { scale: &self.vectors[0], shift: &self.vectors[1], relu: self.relu }
    }

    fn forward(&self, isa: Isa) -> Vec<f32> {
        let mut output = vec![-7.0; self.gradients.len()];
        self.pool.forward(isa, self.extent, &self.stored, self.reading(), &mut output);
        output
    }

    fn backward(&self, isa: Isa) -> (Vec<f32>, Sums) {
        let mut found = vec![-7.0; self.stored.len()];
        let mut sums = Sums::zeros(self.extent.channels);
        let (stored, reading, centre) = (&self.stored, self.reading(), &self.vectors[2]);
        let gradients = &self.gradients;
        self.pool.backward(isa, self.extent, stored, reading, centre, gradients, &mut found, &mut sums);
        (found, sums)
    }

    fn read(&self, at: usize) -> f32 {
        let channel = at % self.extent.channels;
        let value = self.stored[at].mul_add(self.vectors[0][channel], self.vectors[1][channel]);
        if self.relu && value < 0.0 { 0.0 } else { value }
    }

    /// For each output its place and the places of its window's values, row by row.
    fn windows(&self) -> Vec<(usize, Vec<usize>)> {
        let (pool, input) = (self.pool, self.extent);
        let size = pool.output(input);
        let mut windows = Vec::new();
        for image in 0..input.images {
            for (row, column) in
                (0..size.height).flat_map(|row| (0..size.width).map(move |column| (row, column)))
            {
                for channel in 0..input.channels {
                    let places = (0..pool.rows * pool.columns).map(|place| {
                        let row = row * pool.rows + place / pool.columns;
                        let column = column * pool.columns + place % pool.columns;
                        ((image * input.height + row) * input.width + column) * input.channels + channel
                    });
                    let output =
                        ((image * size.height + row) * size.width + column) * size.channels + channel;
                    windows.push((output, places.collect()));
                }
            }
        }
        windows
    }
}

proptest! {
    #[test]
    fn every_instruction_set_gives_the_same_bits(case in prop_oneof![cases(false), cases(true)]) {
        let (forward, (backward, sums)) = (case.forward(Isa::PORTABLE), case.backward(Isa::PORTABLE));
        let double = |sums: &Sums| -> Vec<u64> {
            let all = sums.values.iter().chain(&sums.products);
            all.map(|sum| if sum.is_nan() { 1 } else { sum.to_bits() }).collect()
        };
        for isa in Isa::available() {
            prop_assert_eq!(bits(&case.forward(isa)), bits(&forward), "{}", isa);
            let (found, found_sums) = case.backward(isa);
            prop_assert_eq!(bits(&found), bits(&backward), "{}", isa);
            prop_assert_eq!(double(&found_sums), double(&sums), "{}", isa);
        }
        for (at, value) in forward.iter().enumerate() {
            prop_assert!(at % case.extent.channels < case.channels || *value == 0.0, "padding lanes");
        }
        for (at, value) in backward.iter().enumerate() {
            prop_assert!(at % case.extent.channels < case.channels || *value == 0.0, "padding lanes");
        }
    }

    #[test]
    fn outputs_are_the_windows_maxima_and_means(case in prop_oneof![cases(false), cases(true)]) {
        let found = case.forward(Isa::best());
        for (output, places) in case.windows() {
            let values: Vec<f32> = places.iter().map(|&place| case.read(place)).collect();
            let nan = values.iter().any(|value| value.is_nan());
            let expected = match case.pool.kind {
                Kind::Maximum if nan => f64::NAN,
                Kind::Maximum => f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
                Kind::Average => values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64,
            };
            let same = f64::from(found[output]) == expected || (expected.is_nan() && found[output].is_nan());
            // A mean of nine values below 10, each rounding 6e-8 of that.
            let near = (f64::from(found[output]) - expected).abs() < 1e-5;
            prop_assert!(same || near, "{} for {}", found[output], expected);
        }
    }

    /// The whole gradient goes to the first of equal maxima, or in equal parts to all; ReLU stops it at 0.
    #[test]
    fn gradients_go_where_the_output_came_from(case in cases(false)) {
        let (found, sums) = case.backward(Isa::best());
        let mut expected = vec![0.0_f64; found.len()];
        for (output, places) in case.windows() {
            let gradient = f64::from(case.gradients[output]);
            let largest = places.iter().map(|&place| case.read(place)).fold(f32::NEG_INFINITY, f32::max);
            let first = places.iter().copied().find(|&place| case.read(place) == largest);
            for place in places.iter().copied() {
                let share = match case.pool.kind {
                    Kind::Maximum => if first == Some(place) { gradient } else { 0.0 },
                    Kind::Average => gradient / places.len() as f64,
                };
                if !case.relu || case.read(place) > 0.0 {
                    expected[place] = share;
                }
            }
        }
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs(), "{} {}", found, expected);
        }
        for channel in 0..case.extent.channels {
            let places = || (channel..found.len()).step_by(case.extent.channels);
            let centre = f64::from(case.vectors[2][channel]);
            let product = |place: usize| expected[place] * (f64::from(case.stored[place]) - centre);
            let sizes = places().map(|place| expected[place].abs()).sum::<f64>();
            let sum = places().map(|place| expected[place]).sum::<f64>();
            let products = places().map(product).sum::<f64>();
            prop_assert!((sums.values[channel] - sum).abs() <= 1e-6 * sizes);
            prop_assert!((sums.products[channel] - products).abs() <= 4e-6 * sizes);
        }
    }
}
