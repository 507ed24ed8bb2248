//! Reads every record of a prepared data set in order, as training reads what it has planned: in large pieces, ahead of whoever
//! asks, checked, within 64 MiB. Prints what that took as a line of JSON:
//! `cargo run --release -p lockstep-records --example scan_rate -- URI PASSES`.
//!
//! One pass before those that count fills caches and opens connections.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use lockstep_records::{Dataset, FeatureNames, RecordReader};
use lockstep_storage::Store;
use rustix::time::{ClockId, clock_gettime};

const BOUND: u64 = 64 << 20;
/// What is fetched in one go, in records.
const PORTION: usize = 8192;
/// What is asked for at a time.
const MICRO_BATCH: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: scan_rate URI PASSES";
    let store = Store::open(&arguments.next().ok_or(usage)?)?;
    let passes: Range<u32> = 0..arguments.next().ok_or(usage)?.parse()?;

    scan(&store).await?;
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut bytes = 0;
    for _ in passes {
        bytes += scan(&store).await?;
    }
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64());
    println!(r#"{{"bytes": {bytes}, "seconds": {seconds}, "cpuSeconds": {cpu_seconds}}}"#);
    Ok(())
}

/// Bytes of all shards, once every record of them was read.
async fn scan(store: &Store) -> Result<u64, Box<dyn std::error::Error>> {
    let dataset = Dataset::open(store.clone()).await?;
    let bytes = dataset.manifest().shards.iter().map(|shard| shard.bytes).sum();
    let records: Vec<u64> = (0..dataset.len()).collect();
    let reader = RecordReader::new(dataset, FeatureNames::default(), BOUND);
    reader.expect(records.iter().copied());
    let portions: Vec<_> = records.chunks(PORTION).map(<[u64]>::to_vec).collect();
    let read = async {
        for micro_batch in records.chunks(MICRO_BATCH) {
            std::hint::black_box(reader.read(micro_batch).await?);
        }
        Ok(())
    };
    tokio::try_join!(reader.fetch(&portions), read)?;
    Ok(bytes)
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
