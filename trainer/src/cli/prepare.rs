//! `lockstep prepare`: images as people have them become TFRecord shards and a `dataset.json`.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_crds::executor::exit_code;
use lockstep_records::prepare::{self, ImageOptions, Options, Progress, Summary};
use lockstep_storage::Store;

use crate::failure::chain;

/// Writes DST/train and DST/test; refuses to overwrite what is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    source: Source,
    /// Shards of each split.
    #[arg(long, global = true)]
    shards: Option<NonZeroUsize>,
    /// Threads that convert; all cores by default. The bytes written do not depend on it.
    #[arg(long, global = true)]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// CIFAR-10's binary archive, cifar-10-binary.tar.gz, or the folder that it extracts to.
    Cifar10(Locations),
    /// A folder with one folder of images a class, or train/ and test/ with those.
    ImageFolder {
        #[command(flatten)]
        locations: Locations,
        /// Scale every image to this size; without it all must have one.
        #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
        resize: Option<(u32, u32)>,
        /// 1 for grey, 3 for colour; what the first image is by default.
        #[arg(long)]
        channels: Option<u32>,
    },
    /// A folder of IDX files as MNIST and its relatives have them, plain or .gz.
    Idx {
        #[command(flatten)]
        locations: Locations,
        /// Names of the classes in the order of the labels; digits by default.
        #[arg(long, value_delimiter = ',')]
        classes: Option<Vec<String>>,
    },
}

#[derive(Debug, clap::Args)]
struct Locations {
    /// The file or folder to read.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The folder to write: a path, or file:///path.
    #[arg(value_name = "DST")]
    destination: String,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| side.parse().ok().filter(|side| (1..=4096).contains(side));
    let sides = text.split_once('x').and_then(|(width, height)| Some((parse(width)?, parse(height)?)));
    sides.ok_or_else(|| "write WIDTHxHEIGHT, each 1 to 4096".to_owned())
}

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    let Arguments { source, shards, threads } = arguments;
    let bar = progress_bar();
    let shown = bar.clone();
    let progress = Arc::new(move |Progress { done, total }: Progress| {
        shown.set_length(total);
        shown.set_position(done);
    });
    let options = Options { shards, threads, progress: Some(progress) };
    let outcome = convert(&source, &options).await;
    bar.finish_and_clear();
    match outcome {
        Ok(summary) => {
            print(&summary);
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

async fn convert(source: &Source, options: &Options) -> Result<Summary, Failed> {
    Ok(match source {
        Source::Cifar10(Locations { source, destination }) => {
            prepare::cifar10(source, &open(destination)?, options).await?
        }
        Source::ImageFolder { locations: Locations { source, destination }, resize, channels } => {
            let images = ImageOptions { resize: *resize, channels: *channels };
            prepare::image_folder(source, &open(destination)?, &images, options).await?
        }
        Source::Idx { locations: Locations { source, destination }, classes } => {
            prepare::idx(source, &open(destination)?, classes.as_deref(), options).await?
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

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar:.green/dim} {pos}/{len} images  {per_sec}  {eta} left")
    {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
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
            "{:<6} {} records in {} shards, {mebibytes:.1} MiB, {}",
            split.name, split.records, split.shards, split.uri
        );
    }
}
