//! How fast records are checked and decoded, beside how fast memory is read: on one thread, over the shards of a prepared data set
//! in the page cache. Prints a line of JSON:
//! `cargo run --release -p lockstep-records --example decode_rate -- FOLDER PASSES`.
//!
//! `records` checks both checksums of every record; `samples` also finds image and label in it and copies the pixels out.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockstep_records::{
    FeatureNames, example, framing,
    manifest::{self, Manifest, Shard},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: decode_rate FOLDER PASSES";
    let folder = arguments.next().ok_or(usage)?;
    let folder = Path::new(&folder);
    let passes: u32 = arguments.next().ok_or(usage)?.parse()?;
    let manifest = Manifest::parse(&std::fs::read(folder.join(manifest::FILE_NAME))?)?;
    let shards: Vec<(&Shard, Bytes)> = manifest
        .shards
        .iter()
        .map(|shard| Ok((shard, std::fs::read(folder.join(&shard.name))?.into())))
        .collect::<Result<_, Failure>>()?;

    let bytes: u64 = manifest.shards.iter().map(|shard| shard.bytes).sum();
    let read = seconds(passes, || shards.iter().try_for_each(|(_, bytes)| read(bytes)))?;
    let records = seconds(passes, || shards.iter().try_for_each(|(shard, bytes)| check(shard, bytes)))?;
    let samples = seconds(passes, || shards.iter().try_for_each(|(shard, bytes)| decode(shard, bytes)))?;
    let rate = |seconds: f64| (u64::from(passes) * bytes) as f64 / seconds;
    println!(
        r#"{{"readBytesPerSecond": {:.0}, "recordBytesPerSecond": {:.0}, "sampleBytesPerSecond": {:.0}}}"#,
        rate(read),
        rate(records),
        rate(samples)
    );
    Ok(())
}

/// Of all passes; one before them does not count.
fn seconds(passes: u32, mut pass: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    pass()?;
    let start = Instant::now();
    for _ in 0..passes {
        pass()?;
    }
    Ok(Duration::as_secs_f64(&start.elapsed()))
}

/// The limit: every byte once, in sums that the compiler makes vectors of.
fn read(shard: &Bytes) -> Result<(), Failure> {
    let words = shard.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    black_box(words.fold(0, u64::wrapping_add));
    Ok(())
}

fn frames(shard: &Shard, bytes: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..shard.records).map_while(|record| shard.lengths.locate(record)).map(|(offset, length)| {
        let (offset, length) = (offset as usize, length as usize);
        bytes.slice(offset..offset + length)
    })
}

fn check(shard: &Shard, bytes: &Bytes) -> Result<(), Failure> {
    for frame in frames(shard, bytes) {
        black_box(framing::decode(&frame)?);
    }
    Ok(())
}

fn decode(shard: &Shard, bytes: &Bytes) -> Result<(), Failure> {
    let names = FeatureNames::default();
    for frame in frames(shard, bytes) {
        let (image, label) = example::image_and_label(frame.slice_ref(framing::decode(&frame)?), &names)?;
        black_box((image.to_vec(), label));
    }
    Ok(())
}
