//! Data sets made record by record, so that tests know every byte.

use lockstep_records::{
    FeatureNames, Layout, Shape,
    example::Example,
    framing,
    manifest::{self, Encoding, Manifest, Shard, Source},
};
use lockstep_storage::Store;

pub(crate) const SHAPE: Shape = Shape { height: 4, width: 5, channels: 3 };
pub(crate) const CLASSES: u32 = 10;

/// A data set in a folder that goes with it.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

/// Image and label of record `number`.
pub(crate) fn image(number: u64) -> (Vec<u8>, u32) {
    let pixels = (0..SHAPE.bytes() as u64).map(|at| (number * 37 + at * at + at) as u8).collect();
    (pixels, (number * 7 % u64::from(CLASSES)) as u32)
}

/// A record's data with this image and label.
pub(crate) fn example(pixels: &[u8], label: i64) -> Vec<u8> {
    Example::of_image(&FeatureNames::default(), pixels.to_vec().into(), label).to_bytes()
}

/// As many records as `counts` say in each shard, all right.
pub(crate) fn made(counts: &[u64]) -> Made {
    let mut next = 0;
    let shards = counts.iter().map(|count| {
        let numbers = next..next + count;
        next += count;
        numbers.map(image).map(|(pixels, label)| example(&pixels, label.into())).collect()
    });
    of_records(&shards.collect::<Vec<_>>(), Layout::Hwc)
}

/// Shards of these records' data.
pub(crate) fn of_records(shards: &[Vec<Vec<u8>>], layout: Layout) -> Made {
    let shards = shards.iter().enumerate().map(|(number, records)| {
        let mut bytes = Vec::new();
        records.iter().for_each(|data| framing::append(data, &mut bytes));
        (format!("{number:05}.tfrecord"), bytes)
    });
    of_shards(&shards.collect::<Vec<_>>(), SHAPE, layout)
}

/// A data set around shards that are there already, whoever wrote them.
pub(crate) fn of_shards(shards: &[(String, Vec<u8>)], shape: Shape, layout: Layout) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = Manifest {
        version: manifest::VERSION,
        shape,
        layout,
        encoding: Encoding::Raw,
        classes: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        records: 0,
        channel_mean: vec![0.0; shape.channels as usize],
        channel_deviation: vec![0.0; shape.channels as usize],
        digest: String::new(),
        source: Source { format: "made".to_owned(), name: "up".to_owned(), split: "train".to_owned() },
        shards: shards.iter().map(|(name, bytes)| Shard::scan(name, &bytes[..]).unwrap()).collect(),
    };
    manifest.records = manifest.shards.iter().map(|shard| shard.records).sum();
    manifest.digest = manifest.content_digest();
    for (name, bytes) in shards {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join(manifest::FILE_NAME), manifest.to_json()).unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    Made { folder, store }
}
