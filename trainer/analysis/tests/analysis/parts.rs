//! The report is the same, byte for byte, for any number of threads and parts.

use std::path::Path;

use lockstep_analysis::{Analysis, Options, Outcome, Part, page};
use lockstep_storage::Store;
use proptest::prelude::*;

use crate::support::{ShardBytes, example, open, picture, plant, write_split};

fn options(threads: usize) -> Options {
    Options { threads, progress: None }
}

async fn merged(analysis: &Analysis, parts: u32, threads: usize) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let partials = Store::open(folder.path().to_str().unwrap()).unwrap();
    // Nobody says that the first one is first.
    for number in (0..parts).rev() {
        analysis.run_part(Part { number, parts }, &partials, &options(threads)).await.unwrap();
    }
    analysis.merge(parts, &partials).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_parts_gives_the_same_report_and_page() {
    let folder = tempfile::tempdir().unwrap();
    plant(folder.path());
    let analysis = open(folder.path(), &["train", "test"]).await;
    let whole = analysis.run(&options(1)).await.unwrap();
    let report = whole.report();
    let html = page::html(&report, &whole.gallery(&report, 3).await.unwrap());
    for (parts, threads) in [(1, 4), (2, 1), (3, 2), (7, 1), (100, 1)] {
        let merged = merged(&analysis, parts, threads).await;
        let again = merged.report();
        assert_eq!(again.to_json(), report.to_json(), "{parts} parts");
        assert_eq!(page::html(&again, &merged.gallery(&again, 3).await.unwrap()), html, "{parts} parts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_other_data_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path(), &[vec![(1, 1), (2, 2)]], None);
    let partials = Store::open(folder.path().join("partials").to_str().unwrap()).unwrap();
    open(folder.path(), &["train"]).await.run_part(Part::WHOLE, &partials, &options(1)).await.unwrap();
    made(folder.path(), &[vec![(1, 1), (2, 2), (3, 3)]], None);
    let error = open(folder.path(), &["train"]).await.merge(1, &partials).await.unwrap_err();
    assert!(error.to_string().contains("other data"), "{error}");
}

/// Pictures and labels by shard; one byte flipped in all of them together.
fn made(folder: &Path, shards: &[Vec<(u64, i64)>], flip: Option<prop::sample::Index>) {
    let shards: Vec<_> = shards
        .iter()
        .map(|records| {
            let mut shard = ShardBytes::default();
            for (number, label) in records {
                shard.push(&example(&picture(*number), *label));
            }
            shard
        })
        .collect();
    let mut damaged: Vec<_> = shards.iter().map(|shard| shard.bytes.clone()).collect();
    let all: usize = damaged.iter().map(Vec::len).sum();
    if let Some(flip) = flip.filter(|_| all > 0) {
        let mut at = flip.index(all);
        for bytes in &mut damaged {
            if at < bytes.len() {
                bytes[at] ^= 16;
                break;
            }
            at -= bytes.len();
        }
    }
    write_split(&folder.join("train"), &shards, &damaged);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_data_gives_the_same_report_in_any_number_of_parts(
        shards in prop::collection::vec(prop::collection::vec((0u64..30, -1i64..11), 0..12), 1..6),
        flip in prop::option::of(any::<prop::sample::Index>()),
        parts in 1u32..6, threads in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            made(folder.path(), &shards, flip);
            let analysis = open(folder.path(), &["train"]).await;
            let whole = analysis.run(&options(1)).await.unwrap().report();
            let report = merged(&analysis, parts, threads).await.report();
            prop_assert_eq!(report.to_json(), whole.to_json());
            let split = &report.splits[0];
            let all: usize = shards.iter().map(Vec::len).sum();
            prop_assert_eq!(split.records + split.findings.records, all as u64);
            Ok(())
        })?;
    }
}
