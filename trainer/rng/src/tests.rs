//! Golden vectors and invariants of the streams.

use proptest::prelude::*;

use super::*;

/// A ChaCha8 written from the algorithm's definition, sharing nothing with the crate behind [`Stream`].
fn chacha8_block(key: [u64; 4], counter: u64) -> [u32; 16] {
    let mut start = [0u32; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for (i, word) in key.iter().enumerate() {
        start[4 + 2 * i] = *word as u32;
        start[5 + 2 * i] = (*word >> 32) as u32;
    }
    start[12] = counter as u32;
    start[13] = (counter >> 32) as u32;
    let mut state = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (left, right) in [(16, 12), (8, 7)] {
            state[a] = state[a].wrapping_add(state[b]);
            state[d] = (state[d] ^ state[a]).rotate_left(left);
            state[c] = state[c].wrapping_add(state[d]);
            state[b] = (state[b] ^ state[c]).rotate_left(right);
        }
    };
    for _ in 0..4 {
        for column in 0..4 {
            quarter(column, column + 4, column + 8, column + 12);
        }
        for diagonal in 0..4 {
            quarter(diagonal, (diagonal + 1) % 4 + 4, (diagonal + 2) % 4 + 8, (diagonal + 3) % 4 + 12);
        }
    }
    std::array::from_fn(|i| state[i].wrapping_add(start[i]))
}

/// The first words of ChaCha8 with an all-zero key are published (eSTREAM set 1 and `chacha8` of every crate).
#[test]
fn the_written_out_chacha8_is_the_published_one() {
    assert_eq!(chacha8_block([0; 4], 0)[..4], [0x2fef_003e, 0xd640_5f89, 0xe8b8_5b7f, 0xa1a5_091f]);
}

#[test]
fn words_are_chacha8_keyed_by_seed_domain_a_and_b() {
    let (seed, a, b) = (0x0123_4567_89ab_cdef, 7, u64::MAX);
    let mut stream = Stream::new(seed, Domain::Dropout, a, b);
    for counter in 0..9 {
        for word in chacha8_block([seed, 4, a, b], counter) {
            assert_eq!(stream.next_u32(), word, "block {counter}");
        }
    }
}

/// Also computed once by an independent implementation of the definitions (in Python).
#[test]
fn golden_draws() {
    let mut stream = Stream::new(42, Domain::DataOrder, 3, 5);
    let words: Vec<u32> = (0..4).map(|_| stream.next_u32()).collect();
    let mut order: Vec<u32> = (0..10).collect();
    stream.shuffle(&mut order);
    let bounded: Vec<u64> = [1, 2, 10, 1000, u64::MAX].map(|n| stream.below(n)).to_vec();
    let floats = [stream.unit_f32(), stream.uniform_f32(-0.5, 0.5)].map(f32::to_bits);
    let mut halves = [0; 3];
    stream.fill_u16(&mut halves);
    let found =
        format!("{words:x?} {order:?} {bounded:?} {floats:x?} {halves:x?} {}", stream.word_position());
    let expected = "[cbafd8cf, 14ed56be, cb267a9f, f32d5fb5] [3, 1, 2, 5, 4, 7, 6, 8, 9, 0] \
        [0, 1, 8, 706, 10601049788497088678] [3f10e770, be9dbb20] [5e00, 570c, 352b] 36";
    assert_eq!(found, expected);
}

#[test]
fn the_bulk_methods_give_the_words_of_the_single_ones() {
    let stream = Stream::new(1, Domain::Dropout, 2, 3);
    let words: Vec<u32> = (0..5000).scan(stream.clone(), |s, _| Some(s.next_u32())).collect();
    for start in [0, 1, 15, 16, 63, 64, 1000] {
        for len in [0, 1, 2, 3, 17, 1024, 1025, 3001] {
            let mut bulk = stream.clone();
            bulk.seek(start as u64);
            let mut found = vec![0; len];
            bulk.fill_u32(&mut found);
            assert_eq!(found, words[start..start + len], "start {start}, len {len}");
            assert_eq!(bulk.word_position(), (start + len) as u64);

            bulk.seek(start as u64);
            let mut halves = vec![0; len];
            bulk.fill_u16(&mut halves);
            for (i, half) in halves.iter().enumerate() {
                assert_eq!(*half, (words[start + i / 2] >> (16 * (i % 2))) as u16);
            }
            assert_eq!(bulk.word_position(), (start + len.div_ceil(2)) as u64);
        }
    }
}

/// With `n` = 3 * 2^62, four words fall on three numbers: without rejection multiples of 3 come half of the time.
#[test]
fn bounded_integers_are_unbiased() {
    let mut stream = Stream::new(9, Domain::Augmentation, 0, 0);
    let n = (1u64 << 63) + (1 << 62);
    let multiples = (0..30_000).filter(|_| stream.below(n).is_multiple_of(3)).count();
    assert!((9_700..10_300).contains(&multiples), "{multiples} of 30000 are multiples of 3");
    let mut counts = [0u32; 6];
    (0..60_000).for_each(|_| counts[stream.below(6) as usize] += 1);
    assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
}

proptest! {
    #[test]
    fn draws_stay_in_their_range(seed: u64, a: u64, b: u64, n in 1..u64::MAX) {
        let mut stream = Stream::new(seed, Domain::Initialisation, a, b);
        prop_assert!(stream.below(n) < n);
        prop_assert!((0.0..1.0).contains(&stream.unit_f32()));
        prop_assert!((-2.0..=3.0).contains(&stream.uniform_f32(-2.0, 3.0)));
    }

    #[test]
    fn a_shuffle_is_a_permutation(seed: u64, len in 0usize..300) {
        let mut values: Vec<usize> = (0..len).collect();
        Stream::new(seed, Domain::DataOrder, 0, 0).shuffle(&mut values);
        values.sort_unstable();
        prop_assert_eq!(values, (0..len).collect::<Vec<_>>());
    }

    #[test]
    fn any_other_key_is_another_stream(seed: u64, a in 0u64..1000, b in 0u64..1000) {
        let first = |domain, a, b| Stream::new(seed, domain, a, b).next_u64();
        let own = first(Domain::Dropout, a, b);
        for other in [first(Domain::DataOrder, a, b), first(Domain::Dropout, a + 1, b),
                      first(Domain::Dropout, a, b + 1), first(Domain::Dropout, b + 2000, a)] {
            prop_assert_ne!(own, other);
        }
    }
}
