//! Prints how fast a prepared data set is read on one thread:
//! `cargo run --release -p lockstep-records --example read_rate -- FOLDER [CACHE_MIB]`.

use std::time::Instant;

use lockstep_records::{
    Dataset, FeatureNames, RecordReader,
    order::{Batches, Shuffle, Split},
};
use lockstep_storage::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: read_rate FOLDER [CACHE_MIB]")?;
    let cache_mib: u64 = arguments.next().map_or(Ok(512), |mib| mib.parse())?;
    let dataset = Dataset::open(Store::open(&folder)?).await?;
    let (records, bytes) =
        (dataset.len(), dataset.manifest().shards.iter().map(|shard| shard.bytes).sum::<u64>());
    let reader = RecordReader::new(dataset, FeatureNames::default(), cache_mib << 20);
    for epoch in 0..4 {
        let batches = Batches { global: 128, micro: 16 };
        let order = Split::new(records, 0.0, 42)?.epoch_order(42, epoch, Shuffle::default(), batches);
        let start = Instant::now();
        for first in (0..order.len()).step_by(16) {
            std::hint::black_box(reader.read(&order.records(first..first + 16)).await?);
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "epoch {epoch}: {:.0} records/s, {:.2} GiB/s, {} MiB kept",
            records as f64 / seconds,
            bytes as f64 / seconds / f64::from(1 << 30),
            reader.kept_bytes() >> 20
        );
    }
    Ok(())
}
