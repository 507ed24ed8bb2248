//! What is wrong with data and specs is said, with its place; nothing is skipped or guessed.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};

use crate::lockstep::{Data, Job, lockstep, text};

const BAD_DATA: i32 = 65;
const DIVERGED: i32 = 70;
const BAD_SPEC: i32 = 78;

/// Trains on a copy of the data after `damage` changed a shard's bytes; exit code, words and the shard's name.
fn train_on_damaged(data: &Data, damage: impl FnOnce(&mut Vec<u8>)) -> Result<(i32, String, String)> {
    let folder = tempfile::tempdir()?;
    let copy = data.copy(folder.path())?;
    let mut shards: Vec<PathBuf> = fs::read_dir(copy.folder.join("train"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tfrecord"))
        .collect();
    shards.sort();
    let shard = &shards[1];
    let mut bytes = fs::read(shard)?;
    damage(&mut bytes);
    fs::write(shard, bytes)?;
    let (code, words) = Job::new(&copy)?.fail(&["--executors", "2"])?;
    Ok((code, words, shard.file_name().unwrap_or_default().to_string_lossy().into_owned()))
}

fn ensure_words(code: i32, words: &str, wanted: &[&str]) -> Result<()> {
    ensure!(code == BAD_DATA, "exit code {code}: {words}");
    for part in wanted {
        ensure!(words.contains(part), "no {part:?} in: {words}");
    }
    Ok(())
}

/// Length of the first record's frame: length, its checksum, data, its checksum (TensorFlow's `record_writer.h`).
fn first_frame(bytes: &[u8]) -> usize {
    let mut length = [0; 8];
    length.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(length) as usize + 16
}

pub(crate) fn a_flipped_bit_is_reported_with_file_and_offset(data: &Data) -> Result<()> {
    let mut place = 0;
    let (code, words, shard) = train_on_damaged(data, |bytes| {
        place = first_frame(bytes);
        bytes[place + 500] ^= 4;
    })?;
    ensure_words(code, &words, &[&shard, &place.to_string()])
}

pub(crate) fn a_truncated_shard_is_reported_with_file_and_offset(data: &Data) -> Result<()> {
    let mut length = 0;
    let (code, words, shard) = train_on_damaged(data, |bytes| {
        length = bytes.len() - 100;
        bytes.truncate(length);
    })?;
    ensure_words(code, &words, &[&shard, &length.to_string()])
}

/// Writes a record with right checksums over the first one of the same length.
fn replace_first_record(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let end = first_frame(bytes) - 4;
    change(&mut bytes[12..end]);
    let checksum = crc32c::crc32c(&bytes[12..end]);
    let masked = checksum.rotate_right(15).wrapping_add(0xa282_ead8);
    bytes[end..end + 4].copy_from_slice(&masked.to_le_bytes());
}

/// Position behind the first occurrence of `needle`.
fn behind(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("the record has this feature")
        + needle.len()
}

pub(crate) fn a_label_out_of_range_is_reported_with_file_and_offset(data: &Data) -> Result<()> {
    let (code, words, shard) = train_on_damaged(data, |bytes| {
        replace_first_record(bytes, |record| {
            // "label", then Feature { int64_list { value: [packed, one byte] } }: the byte is the sixth.
            let label = behind(record, b"label") + 6;
            assert!(record[label] < 10, "the label is where it is expected");
            record[label] = 77;
        });
    })?;
    ensure_words(code, &words, &[&shard, "77", "byte 0"])
}

pub(crate) fn an_image_of_the_wrong_size_is_reported_with_file_and_offset(data: &Data) -> Result<()> {
    let (code, words, shard) = train_on_damaged(data, |bytes| {
        replace_first_record(bytes, |record| {
            // BytesList { value: 0x0a, its length, its bytes }, twelve bytes shorter; they become a field 2 that nobody knows.
            // Two tags with two-byte lengths come before: of the feature and of the list.
            let tag = behind(record, b"image") + 6;
            assert_eq!(record[tag], 0x0a, "the value is where it is expected");
            let length = usize::from(record[tag + 1] & 0x7f) | usize::from(record[tag + 2]) << 7;
            let shorter = length - 12;
            record[tag + 1..tag + 3].copy_from_slice(&[(shorter & 0x7f) as u8 | 0x80, (shorter >> 7) as u8]);
            record[tag + 3 + shorter..][..2].copy_from_slice(&[0x12, 10]);
        });
    })?;
    ensure_words(code, &words, &[&shard, "bytes", "byte 0"])
}

pub(crate) fn a_learning_rate_that_diverges_ends_with_its_step_and_the_last_good_checkpoint(
    data: &Data,
) -> Result<()> {
    let job = Job::new(data)?
        .set("training.optimizer={type: SGD, sgd: {learningRate: 1000}}")
        .set("checkpoint.everySteps=1");
    let (code, words) = job.fail(&["--executors", "2"])?;
    ensure!(code == DIVERGED, "exit code {code}: {words}");
    for part in ["step", "learning rate", "last good checkpoint"] {
        ensure!(words.contains(part), "no {part:?} in: {words}");
    }
    Ok(())
}

pub(crate) fn a_spec_that_cannot_run_is_refused_with_field_and_remedy(data: &Data) -> Result<()> {
    for (change, wanted) in [
        ("training.globalBatchSize=100", "globalBatchSize"),
        ("executors=9", "executors"),
        ("data.training.uri=hdfs://namenode:8020", "names no folder"),
        ("training.augmentation={translatePixels: 1000}", "translatePixels"),
        ("training.epoch=3", "training.epoch"),
    ] {
        let (code, words) = Job::new(data)?.set(change).fail(&[])?;
        ensure!(code == BAD_SPEC && words.contains(wanted), "{change}: exit code {code}: {words}");
    }
    Ok(())
}

pub(crate) fn preparing_over_other_data_is_refused(data: &Data) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = data.copy(folder.path())?;
    let images = folder.path().join("images");
    for class in ["a", "b"] {
        fs::create_dir_all(images.join("train").join(class))?;
        // A BMP of one black pixel.
        let mut pixel = b"BM".to_vec();
        for word in [58_u32, 0, 54, 40, 1, 1, 1 | 24 << 16, 0, 4, 2835, 2835, 0, 0, 0] {
            pixel.extend(word.to_le_bytes());
        }
        fs::write(images.join("train").join(class).join("1.bmp"), pixel)?;
    }
    let before = fs::read(copy.folder.join("train/dataset.json"))?;
    let output =
        lockstep(["prepare".as_ref(), "image-folder".as_ref(), images.as_os_str(), copy.folder.as_os_str()])
            .output()?;
    ensure!(!output.status.success(), "it overwrote: {}", text(&output.stdout));
    ensure!(text(&output.stderr).contains("already"), "{}", text(&output.stderr));
    ensure!(fs::read(copy.folder.join("train/dataset.json"))? == before, "the manifest was changed");
    Ok(())
}
