//! The content digest: a text with a line for each thing that training can see, and its SHA-256.
//!
//! A text, so that anyone can compute it; JSON strings, so that no class name can pass for a line.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Encoding, Layout, Manifest};

pub(super) fn of(manifest: &Manifest) -> String {
    hex::encode(Sha256::digest(text(manifest)))
}

pub(super) fn text(manifest: &Manifest) -> String {
    let Manifest {
        version,
        shape,
        layout,
        encoding,
        classes,
        shards,
        records: _,
        channel_mean: _,
        channel_deviation: _,
        digest: _,
        source: _,
    } = manifest;
    let layout = match layout {
        Layout::Hwc => "HWC",
        Layout::Chw => "CHW",
    };
    let encoding = match encoding {
        Encoding::Raw => "raw",
        Encoding::Png => "png",
        Encoding::Jpeg => "jpeg",
    };
    let mut text = format!("lockstep data set {version}\nimages {shape} {layout} {encoding}\n");
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    for class in classes {
        writeln!(text, "class {}", quoted(class)).expect("writing to a String cannot fail");
    }
    for shard in shards {
        writeln!(text, "shard {} {} {}", quoted(&shard.name), shard.records, shard.sha256)
            .expect("writing to a String cannot fail");
    }
    text
}
