//! Trouble that was put there is found, at its place, and nothing else is.

use std::collections::BTreeSet;

use lockstep_analysis::{
    Report,
    finding::Kind,
    report::{Concern, GroupsReport, LayoutVerdict, PlaceReport},
    summary,
};

use crate::support::{Place, Planted, ShardBytes, analyse, example, picture, plant, write_split};

fn name(split: &str) -> &'static str {
    if split == "train" { "train" } else { "test" }
}

fn places(groups: &GroupsReport) -> Vec<Vec<Place>> {
    let place = |place: &PlaceReport| (name(&place.split), place.shard.clone(), place.offset);
    groups.listed.iter().map(|group| group.places.iter().map(place).collect()).collect()
}

fn pairs(groups: &GroupsReport) -> BTreeSet<(Place, Place)> {
    let pair = |places: Vec<Place>| match &places[..] {
        [one, other] => (one.clone(), other.clone()),
        _ => panic!("not two: {places:?}"),
    };
    places(groups).into_iter().map(pair).collect()
}

/// What a report says, in the form in which it was planted.
fn found(report: &Report) -> Planted {
    let mut found = Planted::default();
    for split in &report.splits {
        found.intact += split.records;
        for finding in &split.findings.listed {
            let place = (name(&split.name), finding.shard.clone(), finding.offset);
            let places = match finding.kind {
                Kind::Truncated => &mut found.truncated,
                Kind::LengthChecksum => &mut found.length_flips,
                Kind::DataChecksum => &mut found.data_flips,
                Kind::LabelOutOfRange => &mut found.labels,
                other => panic!("{other:?} was not planted: {finding:?}"),
            };
            assert!(places.insert(place), "told twice: {finding:?}");
        }
        found.duplicates.extend(pairs(&split.duplicates));
    }
    found.conflicts = places(&report.conflicts).into_iter().flatten().collect();
    found.leaks = report.leaks.iter().flat_map(|leak| pairs(&leak.images)).collect();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_planted_is_found_at_its_place_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let planted = plant(folder.path());
    let report = analyse(folder.path(), &["train", "test"]).await.report();
    let sizes = [
        planted.truncated.len(),
        planted.length_flips.len() + planted.data_flips.len(),
        planted.labels.len(),
    ];
    assert_eq!(sizes, [5, 50, 50]);
    assert_eq!((planted.conflicts.len(), planted.duplicates.len(), planted.leaks.len()), (100, 200, 20));
    assert!(planted.length_flips.len() > 1 && planted.data_flips.len() > 1);
    assert_eq!(found(&report), planted);

    let concerns: BTreeSet<_> = report.verdict.iter().map(|statement| statement.concern).collect();
    let expected = [Concern::Corrupt, Concern::Leakage, Concern::Conflicts, Concern::Duplicates];
    assert_eq!(concerns, BTreeSet::from(expected), "{:?}", report.verdict);
    let text = summary::text(&report);
    assert!(text.lines().count() <= summary::LINES, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= summary::COLUMNS), "{text}");
    assert!(text.contains("20 records of test also stand in train"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_nothing_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut shard = ShardBytes::default();
    for number in 0..200 {
        shard.push(&example(&picture(number), (number % 10) as i64));
    }
    let bytes = shard.bytes.clone();
    write_split(&folder.path().join("train"), &[shard], &[bytes]);
    let outcome = analyse(folder.path(), &["train"]).await;
    let report = outcome.report();
    assert_eq!(report.verdict, []);
    assert_eq!(report.splits[0].records, 200);
    assert!((report.splits[0].balance.evenness - 1.0).abs() < 1e-12);
    assert!(summary::text(&report).starts_with("Nothing wrong was found.\n"));
}

/// Not found where training would find it at once, but told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn missing_and_overlong_shards_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = vec![ShardBytes::default(); 3];
    for number in 0..30 {
        shards[number % 3].push(&example(&picture(number as u64), (number % 10) as i64));
    }
    let mut damaged: Vec<_> = shards.iter().map(|shard| shard.bytes.clone()).collect();
    damaged[2].extend([1; 7]);
    write_split(&folder.path().join("train"), &shards, &damaged);
    std::fs::remove_file(folder.path().join("train").join("00001.tfrecord")).unwrap();
    let report = analyse(folder.path(), &["train"]).await.report();
    let told: Vec<_> = report.splits[0]
        .findings
        .listed
        .iter()
        .map(|finding| (finding.kind, finding.shard.as_str(), finding.records, finding.bytes))
        .collect();
    let expected =
        [(Kind::MissingShard, "00001.tfrecord", 10, 0), (Kind::TrailingBytes, "00002.tfrecord", 0, 7)];
    assert_eq!(told, expected);
    assert_eq!(report.splits[0].records, 20);
}

/// Planar bytes that are said to be interleaved: what the reference of this project did to itself.
#[tokio::test(flavor = "multi_thread")]
async fn images_in_another_layout_than_is_said_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (split, planar) in [("right", false), ("wrong", true)] {
        let mut shard = ShardBytes::default();
        for number in 0..64u64 {
            let value =
                |channel: u64, x: u64, y: u64| (60 * channel + 5 * x + (2 + number % 5) * y + number) as u8;
            let pixel = |at: u64| [0, 1, 2].map(|channel| value(channel, at % 12, at / 12));
            let interleaved: Vec<u8> = (0..144).flat_map(pixel).collect();
            let planes = (0..3).flat_map(|channel| interleaved[channel..].iter().step_by(3).copied());
            let stored = if planar { planes.collect() } else { interleaved.clone() };
            shard.push(&example(&stored, (number % 10) as i64));
        }
        let bytes = shard.bytes.clone();
        write_split(&folder.path().join(split), &[shard], &[bytes]);
    }
    let report = analyse(folder.path(), &["right", "wrong"]).await.report();
    let verdicts: Vec<_> = report.splits.iter().map(|split| split.layout.as_ref().unwrap().verdict).collect();
    assert_eq!(verdicts, [LayoutVerdict::Agrees, LayoutVerdict::Contradicts]);
    let told: Vec<_> = report.verdict.iter().filter(|told| told.concern == Concern::Layout).collect();
    assert!(matches!(told[..], [told] if told.text.contains("wrong: images stand in CHW")), "{told:?}");
}
