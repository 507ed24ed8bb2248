//! What is fuzzed: everything that reads bytes which others wrote. cargo-fuzz runs these under a sanitizer; the test `fuzzing` of
//! lockstep-records runs them with the stable compiler.
//!
//! A target fails by a panic: its own code's, that of a property stated here, or that of [`bounded`].
#![allow(dead_code, reason = "each program that includes this uses a part of it")]

use std::io::Read;

use bytes::Bytes;
use flate2::read::{GzEncoder, ZlibEncoder};
use lockstep_records::{
    Compression, Encoding, FeatureNames, Layout, Shape, compression,
    example::{self, Example},
    framing::{self, Frames},
    manifest::{Manifest, Shard},
    pixels::{self, ImageFormat},
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What reading may take beyond the bytes that are read.
const MEMORY_BYTES: usize = 64 << 20;

/// One target.
pub(crate) struct Target {
    /// As on cargo-fuzz's command line.
    pub(crate) name: &'static str,
    /// Must return for all bytes.
    pub(crate) run: fn(&[u8]),
    /// Good inputs.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub(crate) const ALL: [Target; 5] = [
    Target { name: "framing", run: framing, seeds: framing_seeds },
    Target { name: "compression", run: compressed, seeds: compressed_seeds },
    Target { name: "example", run: example, seeds: example_seeds },
    Target { name: "manifest", run: manifest, seeds: manifest_seeds },
    Target { name: "image", run: image, seeds: image_seeds },
];

/// Runs `read` and ends the process if it took too much memory.
fn bounded(data: &[u8], read: impl FnOnce()) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    read();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken <= data.len() + MEMORY_BYTES, "{taken} bytes of memory for {} bytes", data.len());
}

/// Record framing: alone, as a stream, and behind lengths whose checksum is right.
pub(crate) fn framing(data: &[u8]) {
    bounded(data, || {
        let _ = framing::decode(data);
        read_stream(data);
        let mut repaired = data.to_vec();
        if let Some((length, rest)) = repaired.split_first_chunk_mut::<8>()
            && let Some(checksum) = rest.first_chunk_mut()
        {
            *checksum = framing::masked_crc(length).to_le_bytes();
        }
        read_stream(&repaired);
        let _ = framing::decode(&repaired);
    });
}

/// What a stream's records are made of is what was read of it.
fn read_stream(data: &[u8]) {
    let (mut frames, mut written) = (Frames::new(data), Vec::new());
    let whole = loop {
        match frames.next_record() {
            Ok(Some(record)) => framing::append(record, &mut written),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert_eq!(written, data[..written.len()]);
    assert_eq!(frames.offset(), written.len() as u64);
    let scanned = Shard::scan("shard", data);
    assert_eq!(scanned.is_ok(), whole);
    assert!(scanned.is_err() || written.len() == data.len());
}

fn framing_seeds() -> Vec<Vec<u8>> {
    let records: [&[u8]; 3] = [b"", b"a record", &[7; 300]];
    let mut shard = Vec::new();
    let mut seeds = vec![Vec::new()];
    for record in records {
        framing::append(record, &mut shard);
        seeds.push(shard.clone());
    }
    seeds
}

/// Compressed shards: what comes out is bounded, whatever was put in.
pub(crate) fn compressed(data: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    bounded(data, || {
        let _ = Compression::detect(data);
        for compression in [Compression::Gzip, Compression::Zlib] {
            if let Ok(shard) = Shard::scan("shard", compression::unpack(data, compression, LIMIT)) {
                assert!(shard.bytes <= LIMIT);
            }
        }
    });
}

fn compressed_seeds() -> Vec<Vec<u8>> {
    let mut bomb = Vec::new();
    framing::append(&vec![0; MEMORY_BYTES + (8 << 20)], &mut bomb);
    let level = flate2::Compression::fast();
    let contents = framing_seeds().into_iter().chain([bomb]);
    let both = contents.flat_map(|content| {
        let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
        GzEncoder::new(&content[..], level).read_to_end(&mut gzip).expect("memory takes everything");
        ZlibEncoder::new(&content[..], level).read_to_end(&mut zlib).expect("memory takes everything");
        [gzip, zlib]
    });
    both.collect()
}

/// `tf.train.Example`: what was read can be written and read again.
pub(crate) fn example(data: &[u8]) {
    bounded(data, || {
        let names = FeatureNames::default();
        let found = example::image_and_label(Bytes::copy_from_slice(data), &names);
        let Ok(example) = Example::from_bytes(Bytes::copy_from_slice(data)) else {
            return assert!(found.is_err());
        };
        let _ = example.floats("weights");
        let wanted = example.bytes(&names.image).ok().cloned().zip(example.int64(&names.label).ok());
        assert_eq!(found.ok(), wanted);
        let again = Example::from_bytes(example.to_bytes().into()).expect("an example was written");
        // Not the examples themselves: one with a NaN in it is not equal to itself.
        assert_eq!(again.to_bytes(), example.to_bytes());
    });
}

fn example_seeds() -> Vec<Vec<u8>> {
    let image = |image: &'static [u8], label| {
        Example::of_image(&Default::default(), Bytes::from_static(image), label).to_bytes()
    };
    // A list of floats, packed and not, as the format allows both.
    let packed = b"\x0a\x17\x0a\x15\x0a\x07weights\x12\x0a\x12\x08\x0a\x06\x00\x00\x80\x3f\x00\x00".to_vec();
    vec![Vec::new(), image(b"pixels", 3), image(b"", -1), packed]
}

/// `dataset.json`: what is believed can be written and is believed again.
pub(crate) fn manifest(data: &[u8]) {
    bounded(data, || {
        if let Ok(manifest) = Manifest::parse(data) {
            assert_eq!(Manifest::parse(&manifest.to_json()).expect("a manifest was written"), manifest);
        }
    });
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let mut shard = Vec::new();
    [10, 10, 20].iter().for_each(|bytes| framing::append(&vec![0; *bytes], &mut shard));
    let shard = Shard::scan("train-00000-of-00001.tfrecord", &shard[..]).expect("the shard is whole");
    let seed = |encoding, layout| {
        let mut manifest = Manifest {
            version: lockstep_records::manifest::VERSION,
            shape: Shape { height: 2, width: 2, channels: 3 },
            layout,
            encoding,
            classes: vec!["cat".to_owned(), "dog".to_owned()],
            records: shard.records,
            channel_mean: vec![100.0; 3],
            channel_deviation: vec![60.5; 3],
            digest: String::new(),
            source: lockstep_records::manifest::Source {
                format: "made".to_owned(),
                name: "up".to_owned(),
                split: "train".to_owned(),
            },
            shards: vec![shard.clone()],
        };
        manifest.digest = manifest.content_digest();
        manifest.to_json()
    };
    vec![seed(Encoding::Raw, Layout::Hwc), seed(Encoding::Jpeg, Layout::Chw), b"{}".to_vec()]
}

/// Images of any form; the first two bytes say which size is expected.
pub(crate) fn image(data: &[u8]) {
    let Some(([height, width], image)) = data.split_first_chunk() else { return };
    bounded(data, || {
        let channels = if height % 2 == 0 { 1 } else { 3 };
        let shape = Shape { height: u32::from(*height) + 1, width: u32::from(*width) + 1, channels };
        for encoding in [Encoding::Raw, Encoding::Png, Encoding::Jpeg] {
            for layout in [Layout::Hwc, Layout::Chw] {
                if let Ok(pixels) = (ImageFormat { encoding, layout, shape }).decode(image) {
                    assert_eq!(pixels.len(), shape.bytes());
                }
            }
        }
        let _ = pixels::encoded_header(image);
    });
}

fn image_seeds() -> Vec<Vec<u8>> {
    let (height, width) = (12u8, 18u8);
    let pixels: Vec<u8> =
        (0..usize::from(height) * usize::from(width) * 3).map(|at| (at * 7 % 251) as u8).collect();
    // An odd first byte asks for three channels.
    let sized = |image: Vec<u8>| [vec![height - 1, width - 1], image].concat();
    let jpeg = |progressive, sampling| {
        let mut image = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut image, 80);
        encoder.set_progressive(progressive);
        encoder.set_sampling_factor(sampling);
        encoder
            .encode(&pixels, width.into(), height.into(), jpeg_encoder::ColorType::Rgb)
            .expect("the image has that size");
        sized(image)
    };
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory takes everything");
    writer.write_image_data(&pixels).expect("memory takes everything");
    writer.finish().expect("memory takes everything");
    use jpeg_encoder::SamplingFactor::{R_4_2_0, R_4_4_4};
    vec![sized(png), jpeg(false, R_4_4_4), jpeg(false, R_4_2_0), jpeg(true, R_4_2_0), sized(pixels.clone())]
}
