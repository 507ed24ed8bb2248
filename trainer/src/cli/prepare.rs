//! `lockstep prepare`: images as people have them become TFRecord shards and a `dataset.json`.

use std::{path::Path, sync::Arc};

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_crds::executor::exit_code;
use lockstep_records::prepare::{
    self, NumpyOptions, Options, Progress, ShardFolder, ShardFolders, Split, Summary,
};
use lockstep_records::shard_files::folder_and_pattern;
use lockstep_storage::Store;
use serde_json::json;

use crate::failure::chain;
use arguments::{Classes, Locations, Source};

pub(crate) use arguments::Arguments;

pub(super) mod arguments;

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    let Arguments { source, shards, threads, split, seed, encoding, json } = arguments;
    let bar = progress_bar();
    let shown = bar.clone();
    let progress = Arc::new(move |Progress { done, total }: Progress| {
        shown.set_length(total);
        shown.set_position(done);
    });
    let split = split.map(|shares| Split { shares, seed });
    let options = Options { shards, threads, split, encoding, progress: Some(progress) };
    let outcome = convert(source, &options).await;
    bar.finish_and_clear();
    match outcome {
        Ok(summary) => {
            if json {
                println!("{}", as_json(&summary))
            } else {
                print(&summary)
            }
            exit_code::DONE
        }
        Err(error) => {
            eprintln!("error: {}", chain(error.source.as_ref()));
            if error.is_retryable { exit_code::RETRYABLE } else { exit_code::DATA }
        }
    }
}

struct Failed {
    source: Box<dyn std::error::Error + Send + Sync>,
    is_retryable: bool,
}

impl From<lockstep_storage::Error> for Failed {
    fn from(error: lockstep_storage::Error) -> Self {
        Self { is_retryable: error.is_retryable(), source: error.into() }
    }
}

impl From<prepare::Error> for Failed {
    fn from(error: prepare::Error) -> Self {
        Self { is_retryable: error.is_retryable(), source: error.into() }
    }
}

async fn convert(source: Source, options: &Options) -> Result<Summary, Failed> {
    Ok(match source {
        Source::Cifar10(Locations { source, destination }) => {
            prepare::cifar10(&source, &open(&destination)?, options).await?
        }
        Source::Cifar100 { locations: Locations { source, destination }, labels } => {
            prepare::cifar100(&source, &open(&destination)?, labels.into(), options).await?
        }
        Source::ImageFolder { locations: Locations { source, destination }, images } => {
            prepare::image_folder(&source, &open(&destination)?, &images.into(), options).await?
        }
        Source::Idx { locations: Locations { source, destination }, classes: Classes { classes } } => {
            prepare::idx(&source, &open(&destination)?, classes.as_deref(), options).await?
        }
        Source::Numpy {
            locations: Locations { source, destination },
            layout,
            classes: Classes { classes },
        } => {
            let numpy = NumpyOptions { layout: layout.map(Into::into), classes };
            prepare::numpy(&source, &open(&destination)?, &numpy, options).await?
        }
        Source::Tfrecords(records) => {
            let optional = |location: &Option<String>| location.as_deref().map(open_shards).transpose();
            let folders = ShardFolders {
                train: open_shards(&records.train)?,
                validation: optional(&records.validation)?,
                test: optional(&records.test)?,
            };
            let destination = open(&records.destination)?;
            prepare::tfrecords(&folders, &destination, &records.options(), options).await?
        }
    })
}

/// The store of a URI or a path of this machine.
pub(super) fn open(destination: &str) -> lockstep_storage::Result<Store> {
    if destination.contains("://") {
        return Store::open(destination);
    }
    // Without a working folder the path stays as it is, and the store says what is wrong with it.
    let path = std::path::absolute(Path::new(destination)).unwrap_or_else(|_| destination.into());
    Store::open(&path.to_string_lossy())
}

/// A folder of shards, with the pattern of their names.
fn open_shards(location: &str) -> lockstep_storage::Result<ShardFolder> {
    let (folder, pattern) = folder_and_pattern(location);
    Ok(ShardFolder { store: open(folder)?, pattern: pattern.map(str::to_owned) })
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar:.green/dim} {pos}/{len} images  {per_sec}  {eta} left")
    {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

fn as_json(summary: &Summary) -> serde_json::Value {
    let Summary { shape, classes, splits } = summary;
    let splits = splits.iter().map(|split| {
        let prepare::SplitSummary { name, uri, records, shards, bytes, digest } = split;
        json!({"name": name, "uri": uri, "records": records, "shards": shards, "bytes": bytes, "digest": digest})
    });
    json!({"shape": shape, "classes": classes, "splits": splits.collect::<Vec<_>>()})
}

fn print(summary: &Summary) {
    println!(
        "images of {}, {} classes: {}",
        summary.shape,
        summary.classes.len(),
        summary.classes.join(", ")
    );
    for split in &summary.splits {
        let mebibytes = split.bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<10} {} records in {} shards, {mebibytes:.1} MiB, {}",
            split.name, split.records, split.shards, split.uri
        );
    }
}
