//! What is accepted, what is refused, and that the digest sees what it should.

use serde_json::{Value, json};

use super::*;
use crate::{compression::Compression, framing};

fn shard(name: &str, records: usize) -> Shard {
    let mut bytes = Vec::new();
    (0..records).for_each(|i| framing::append(&vec![i as u8; 20 + i / 2], &mut bytes));
    Shard::scan(name, &bytes[..]).unwrap()
}

fn manifest() -> Manifest {
    let mut manifest = Manifest {
        version: VERSION,
        shape: Shape { height: 2, width: 3, channels: 3 },
        layout: Layout::Hwc,
        encoding: Encoding::Raw,
        classes: vec!["cat".to_owned(), "dog \"x\"".to_owned()],
        records: 8,
        channel_mean: vec![1.5, 0.0, 255.0],
        channel_deviation: vec![0.25, 0.0, 1.0],
        digest: String::new(),
        source: Source { format: "idx".to_owned(), name: "x".to_owned(), split: "train".to_owned() },
        shards: vec![shard("a.tfrecord", 5), shard("b.tfrecord", 3)],
    };
    manifest.digest = manifest.content_digest();
    manifest
}

#[test]
fn a_manifest_comes_back_as_it_was_written() {
    let json = manifest().to_json();
    assert_eq!(Manifest::parse(&json).unwrap(), manifest());
    assert_eq!(Manifest::parse(&json).unwrap().to_json(), json);
    assert!(String::from_utf8(json).unwrap().contains(r#""lengths": "2x36 2x37 1x38""#));
}

#[test]
fn a_compressed_shard_comes_back_as_it_was_written() {
    let mut manifest = manifest();
    manifest.shards[1].compressed = Some(Compressed { format: Compression::Zlib, bytes: 99 });
    let json = manifest.to_json();
    assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    assert_eq!(
        manifest.shards.iter().map(Shard::file_bytes).collect::<Vec<_>>(),
        [manifest.shards[0].bytes, 99]
    );
    let unknown = String::from_utf8(json).unwrap().replace("\"zlib\"", "\"lz4\"");
    assert!(matches!(Manifest::parse(unknown.as_bytes()), Err(Error::Parse { .. })));
}

/// Jobs are named by this digest, so it may never change for the same data.
#[test]
fn golden_digest() {
    let found = digest::text(&manifest());
    let hash = |i: usize| manifest().shards[i].sha256.clone();
    let expected = format!(
        "lockstep data set 1\nimages 2x3x3 HWC raw\nclass \"cat\"\nclass \"dog \\\"x\\\"\"\n\
         shard \"a.tfrecord\" 5 {}\nshard \"b.tfrecord\" 3 {}\n",
        hash(0),
        hash(1)
    );
    assert_eq!(found, expected);
    assert_eq!(manifest().digest, "c014ec9ba658f9b95444bef7ff2ec5462b3b015a871b88e02f61fab42f3a653c");
}

#[test]
fn the_digest_sees_content_and_nothing_else() {
    type Change = fn(&mut Manifest);
    let changes: [(bool, Change); 10] = [
        (true, |m| m.shape.height = 4),
        (true, |m| m.layout = Layout::Chw),
        (true, |m| m.classes[0].push('s')),
        (true, |m| m.classes.swap(0, 1)),
        (true, |m| m.shards[0].sha256.replace_range(0..1, "x")),
        (true, |m| m.shards[1].name.push('x')),
        (true, |m| m.shards.truncate(1)),
        (false, |m| m.source.name.push('x')),
        (false, |m| m.channel_mean[0] = 2.0),
        (false, |m| m.shards[0].compressed = Some(Compressed { format: Compression::Gzip, bytes: 7 })),
    ];
    for (i, (seen, change)) in changes.into_iter().enumerate() {
        let mut changed = manifest();
        change(&mut changed);
        assert_eq!(changed.content_digest() != manifest().digest, seen, "change {i}");
    }
}

/// Each change makes one field wrong; the error must name that field.
#[test]
fn every_contradiction_is_refused_by_the_name_of_its_field() {
    let changes: [(&str, &str, Value); 20] = [
        ("shape", "/shape/height", json!(0)),
        ("shape", "/shape/width", json!(4_000_000_000_u32)),
        ("shape", "/shape/channels", json!(17)),
        ("classes", "/classes", json!([])),
        ("classes[1]", "/classes/1", json!("cat")),
        ("classes[0]", "/classes/0", json!("line\nbreak")),
        ("channelMean", "/channelMean", json!([1.0])),
        ("channelMean", "/channelMean/1", json!(-0.5)),
        ("channelDeviation", "/channelDeviation/2", json!(256)),
        ("shards", "/shards", json!([])),
        ("shards[1].name", "/shards/1/name", json!("a.tfrecord")),
        ("shards[0].name", "/shards/0/name", json!("../a")),
        ("shards[0].name", "/shards/0/name", json!("c")),
        ("shards[0].sha256", "/shards/0/sha256", json!("AB")),
        ("shards[0].records", "/shards/0/records", json!(6)),
        ("shards[1].bytes", "/shards/1/bytes", json!(1)),
        ("shards[1].lengths", "/shards/1/lengths", json!("3x15")),
        ("shards[1].lengths", "/shards/1/lengths", json!("1x268435473")),
        ("records", "/records", json!(9)),
        ("digest", "/digest", json!("0".repeat(64))),
    ];
    for (field, pointer, value) in changes {
        let mut json: Value = serde_json::from_slice(&manifest().to_json()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value.clone();
        match Manifest::parse(&serde_json::to_vec(&json).unwrap()) {
            Err(Error::Invalid { field: found, .. }) if field == "shards[0].name" && value == json!("c") => {
                assert_eq!(found, "shards[1].name", "unsorted");
            }
            Err(Error::Invalid { field: found, .. }) => assert_eq!(found, field, "{pointer} = {value}"),
            other => panic!("{pointer} = {value}: {other:?}"),
        }
    }
}

#[test]
fn other_versions_unknown_fields_and_missing_fields_are_refused() {
    let edit = |edit: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut json: Value = serde_json::from_slice(&manifest().to_json()).unwrap();
        edit(json.as_object_mut().unwrap());
        Manifest::parse(&serde_json::to_vec(&json).unwrap()).unwrap_err()
    };
    let newer = edit(&|json| {
        json.insert("version".to_owned(), json!(2));
        json.remove("shards");
    });
    assert!(matches!(newer, Error::Version { found: 2 }), "{newer:?}");
    let extra = edit(&|json| drop(json.insert("extra".to_owned(), json!(1))));
    assert!(matches!(extra, Error::Parse { .. }));
    let missing = edit(&|json| drop(json.remove("layout")));
    assert!(matches!(missing, Error::Parse { .. }));
    for end in 0..manifest().to_json().len() - 1 {
        assert!(Manifest::parse(&manifest().to_json()[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_damaged_shard_is_reported_by_name_and_offset() {
    let mut bytes = Vec::new();
    (0..3).for_each(|_| framing::append(b"data", &mut bytes));
    bytes[45] ^= 1;
    let error = Shard::scan("s.tfrecord", &bytes[..]).unwrap_err();
    assert_eq!(error.to_string(), "failed to scan the shard s.tfrecord at byte 40");
}
