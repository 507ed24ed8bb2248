//! Data sets made record by record, with every kind of trouble at places that are written down.

use std::{collections::BTreeSet, path::Path};

use lockstep_analysis::{Analysis, Format, Options, Outcome, Split};
use lockstep_records::{
    FeatureNames, Layout, Shape,
    example::Example,
    framing,
    manifest::{self, Encoding, Manifest, Shard, Source},
};
use lockstep_storage::Store;

pub(crate) const SHAPE: Shape = Shape { height: 12, width: 12, channels: 3 };
pub(crate) const CLASSES: i64 = 10;

/// The pixels of picture `number`: a bright disc on a dark ground; no two are the same.
pub(crate) fn picture(number: u64) -> Vec<u8> {
    let hue = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (x0, y0, radius) = (hue % 12, (hue >> 8) % 12, 9 + (hue >> 16) % 30);
    let mut pixels = Vec::with_capacity(SHAPE.bytes());
    for at in 0..144u64 {
        let (x, y) = (at % 12, at / 12);
        let inside = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) < radius;
        for channel in 0..3 {
            let tone = (hue >> (20 + 8 * channel)) % 120;
            pixels.push((if inside { 130 + tone } else { 20 + tone / 2 + y }) as u8);
        }
    }
    // Discs may look alike: the number itself stands in the first row.
    for (at, byte) in number.to_le_bytes().into_iter().enumerate() {
        pixels[at * 3] = byte;
    }
    pixels
}

pub(crate) fn example(pixels: &[u8], label: i64) -> Vec<u8> {
    Example::of_image(&FeatureNames::default(), pixels.to_vec().into(), label).to_bytes()
}

/// Records of one shard, as they are written one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardBytes {
    pub(crate) bytes: Vec<u8>,
    /// Where each record begins.
    pub(crate) offsets: Vec<u64>,
}

impl ShardBytes {
    pub(crate) fn push(&mut self, data: &[u8]) -> u64 {
        let offset = self.bytes.len() as u64;
        framing::append(data, &mut self.bytes);
        self.offsets.push(offset);
        offset
    }
}

pub(crate) fn shard_name(number: usize) -> String {
    format!("{number:05}.tfrecord")
}

/// Writes shards and the manifest of what they should be.
pub(crate) fn write_split(folder: &Path, whole: &[ShardBytes], damaged: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).unwrap();
    let shards = whole.iter().enumerate();
    let mut manifest = Manifest {
        version: manifest::VERSION,
        shape: SHAPE,
        layout: Layout::Hwc,
        encoding: Encoding::Raw,
        classes: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        records: 0,
        channel_mean: vec![0.0; 3],
        channel_deviation: vec![0.0; 3],
        digest: String::new(),
        source: Source { format: "made".to_owned(), name: "up".to_owned(), split: "train".to_owned() },
        shards: shards
            .map(|(number, shard)| Shard::scan(&shard_name(number), &shard.bytes[..]).unwrap())
            .collect(),
    };
    manifest.records = manifest.shards.iter().map(|shard| shard.records).sum();
    manifest.digest = manifest.content_digest();
    for (number, bytes) in damaged.iter().enumerate() {
        std::fs::write(folder.join(shard_name(number)), bytes).unwrap();
    }
    std::fs::write(folder.join(manifest::FILE_NAME), manifest.to_json()).unwrap();
}

pub(crate) async fn open(folder: &Path, names: &[&str]) -> Analysis {
    let mut splits = Vec::new();
    for name in names {
        let store = Store::open(folder.join(name).to_str().unwrap()).unwrap();
        splits.push(Split::open(name, store, None, Format::default()).await.unwrap());
    }
    Analysis::new(splits, false)
}

pub(crate) async fn analyse(folder: &Path, names: &[&str]) -> Outcome {
    open(folder, names).await.run(&Options { threads: 3, progress: None }).await.unwrap()
}

/// Split, shard and offset of a record.
pub(crate) type Place = (&'static str, String, u64);

/// Where trouble was put.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    pub(crate) truncated: BTreeSet<Place>,
    pub(crate) length_flips: BTreeSet<Place>,
    pub(crate) data_flips: BTreeSet<Place>,
    pub(crate) labels: BTreeSet<Place>,
    /// Both records of each image.
    pub(crate) conflicts: BTreeSet<Place>,
    /// The repeated record and the first one, in the order of their places.
    pub(crate) duplicates: BTreeSet<(Place, Place)>,
    /// The record in train, and the one in test.
    pub(crate) leaks: BTreeSet<(Place, Place)>,
    /// Records that nothing is wrong with, repeated ones included.
    pub(crate) intact: u64,
}

const SHARDS: usize = 25;
const PLAIN: usize = 60;

/// `train` and `test` with 5 truncated shards, 50 flipped bits, 50 labels out of range, 50 images repeated under another
/// label, 200 duplicates and 20 records leaked into the test split.
pub(crate) fn plant(folder: &Path) -> Planted {
    let mut planted = Planted::default();
    let mut train = vec![ShardBytes::default(); SHARDS];
    let mut numbers = 0u64..;
    let mut next = || numbers.next().unwrap();
    let label = |number: u64| (number % CLASSES as u64) as i64;
    let place = |split, shard: usize, offset| (split, shard_name(shard), offset);
    // Pictures of the first twenty shards, to be repeated; the last five will be cut.
    let mut pictures = Vec::new();
    for (shard, bytes) in train.iter_mut().enumerate() {
        for _ in 0..PLAIN {
            let number = next();
            let offset = bytes.push(&example(&picture(number), label(number)));
            if shard < SHARDS - 5 {
                pictures.push((number, shard, offset));
            }
        }
    }
    // Every fourth is used once at most, so that no trouble hides another.
    let mut free = pictures.into_iter().step_by(4);
    for _ in 0..50 {
        let (number, shard, offset) = free.next().unwrap();
        let again = (shard + 7) % (SHARDS - 5);
        let second = train[again].push(&example(&picture(number), (label(number) + 1) % CLASSES));
        planted.conflicts.extend([place("train", shard, offset), place("train", again, second)]);
    }
    for repeat in 0..200 {
        let (number, shard, offset) = free.next().unwrap_or_else(|| panic!("too few pictures for {repeat}"));
        let again = (shard + 3) % (SHARDS - 5);
        let second = train[again].push(&example(&picture(number), label(number)));
        let (one, other) = (place("train", shard, offset), place("train", again, second));
        planted.duplicates.insert(if one < other { (one, other) } else { (other, one) });
    }
    let mut test = vec![ShardBytes::default(); 4];
    for shard in &mut test {
        for _ in 0..50 {
            let number = next();
            shard.push(&example(&picture(number), label(number)));
        }
    }
    for leak in 0..20 {
        let (number, shard, offset) = free.next().unwrap();
        let into = leak % test.len();
        let second = test[into].push(&example(&picture(number), label(number)));
        planted.leaks.insert((place("train", shard, offset), place("test", into, second)));
    }
    for wrong in 0..50 {
        let shard = wrong % (SHARDS - 5);
        let label = [CLASSES, -1, 1 << 40, i64::MIN][wrong % 4];
        let offset = train[shard].push(&example(&picture(next()), label));
        planted.labels.insert(place("train", shard, offset));
    }
    let all = train.iter().chain(&test).map(|shard| shard.offsets.len() as u64).sum::<u64>();
    let mut damaged: Vec<Vec<u8>> = train.iter().map(|shard| shard.bytes.clone()).collect();
    for flip in 0..50 {
        let shard = flip % (SHARDS - 5);
        // Records that are not repeated: the third of every four.
        let record = 4 * (flip / (SHARDS - 5)) + 2;
        let (start, end) = (train[shard].offsets[record], train[shard].offsets[record + 1]);
        let within = (flip as u64 * 7919) % (end - start);
        damaged[shard][(start + within) as usize] ^= 1 << (flip % 8);
        let flips = if within < 12 { &mut planted.length_flips } else { &mut planted.data_flips };
        flips.insert(place("train", shard, start));
    }
    let mut lost = 0;
    for cut in 0..5 {
        let shard = SHARDS - 5 + cut;
        let record = 10 * cut + 5;
        // One is cut between two records, which only the index tells.
        let end = train[shard].offsets[record] + [0, 3, 14, 100, 400][cut];
        damaged[shard].truncate(end as usize);
        planted.truncated.insert(place("train", shard, train[shard].offsets[record]));
        lost += (PLAIN - record) as u64;
    }
    planted.intact = all - 50 - 50 - lost;
    write_split(&folder.join("train"), &train, &damaged);
    let whole: Vec<_> = test.iter().map(|shard| shard.bytes.clone()).collect();
    write_split(&folder.join("test"), &test, &whole);
    planted
}
