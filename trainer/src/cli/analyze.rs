//! `lockstep analyze`: what is in data sets, and what is wrong with them; alone, or in parts on several machines.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, thread::available_parallelism, time::Duration};

use clap::ArgGroup;
use indicatif::{ProgressBar, ProgressStyle};
use lockstep_analysis::{
    Analysis, Error, Format, Options, Outcome, Part, Report, Split, page, report::Concern, summary,
};
use lockstep_crds::executor::exit_code;
use lockstep_records::{Classes, FeatureNames, Shape, shard_files::folder_and_pattern};
use lockstep_storage::Store;

use super::prepare::{
    arguments::{ImageLayout, parse_classes, shape_within},
    open,
};
use crate::failure::chain;

/// How often a merge looks for parts that are not done.
const WAIT: Duration = Duration::from_secs(2);

/// Analyses data sets: figures, damage, duplicates, leaks, label conflicts, drift.
///
/// Prints a summary. Ends with 0 whatever it finds, unless --fail-on says otherwise. The result is the same, byte for byte,
/// for any number of threads and parts.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("role").args(["part", "merge"]))]
pub(crate) struct Arguments {
    /// Data sets of one whole, such as train and test, that which others are compared with first: a path or URI, named by
    /// its last part or as NAME=URI. The last part may be a pattern of the shards' names, in which * stands for any
    /// characters; it is named by what stands before the *.
    #[arg(required = true, value_name = "[NAME=]URI", value_parser = parse_source)]
    splits: Vec<Source>,
    /// Write the report as JSON: a path or URI.
    #[arg(long, value_name = "FILE", conflicts_with = "part")]
    json: Option<String>,
    /// Write the report as a page, with pictures, in one file: a path or URI.
    #[arg(long, value_name = "FILE", conflicts_with = "part")]
    html: Option<String>,
    /// Analyse part I, from 0, of N, and leave the result in --partials.
    #[arg(long, value_name = "I/N", value_parser = parse_part, requires = "partials")]
    part: Option<Part>,
    /// Bring together what N parts have left in --partials.
    #[arg(long, value_name = "N", requires = "partials")]
    merge: Option<NonZeroUsize>,
    /// The folder that parts write to: a path or URI.
    #[arg(long, value_name = "URI", requires = "role")]
    partials: Option<String>,
    /// With --merge: wait until all parts are done.
    #[arg(long, requires = "merge")]
    wait: bool,
    /// Threads that analyse; all cores by default.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Images of each class on the page.
    #[arg(long, value_name = "K", default_value_t = 8)]
    samples: usize,
    /// Do not compare images with each other, which takes 32 bytes of memory an image.
    #[arg(long)]
    skip_duplicates: bool,
    /// End with 65 where one of these is found.
    #[arg(long, value_name = "CONCERN", value_delimiter = ',', conflicts_with = "part")]
    fail_on: Vec<FailOn>,
    #[command(flatten)]
    format: FormatArguments,
}

/// Names of the features; and, of data sets without a dataset.json, what it would say.
#[derive(Debug, clap::Args)]
struct FormatArguments {
    /// Feature that holds the image.
    #[arg(long, value_name = "NAME", default_value = "image")]
    image_feature: String,
    /// Feature that holds the label.
    #[arg(long, value_name = "NAME", default_value = "label")]
    label_feature: String,
    /// Without a dataset.json: size of all images; PNG and JPEG say their own.
    #[arg(long, value_name = "HEIGHTxWIDTHxCHANNELS", value_parser = parse_shape)]
    shape: Option<Shape>,
    /// Without a dataset.json: layout of raw images.
    #[arg(long, value_enum, default_value = "HWC", ignore_case = true)]
    layout: ImageLayout,
    /// Without a dataset.json: names of the classes in the order of the labels, or their number.
    #[arg(long, value_name = "NAMES|NUMBER", value_parser = parse_classes)]
    classes: Option<Classes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: String,
    uri: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Records that cannot be read.
    Corrupt,
    /// Images of one split in another.
    Leakage,
    /// One image with several labels.
    Conflicts,
    /// Repeated records.
    Duplicates,
    /// Splits of clearly different distributions.
    Drift,
    /// Raw images that stand in another layout than is said.
    Layout,
}

impl FailOn {
    fn concern(self) -> Concern {
        match self {
            Self::Corrupt => Concern::Corrupt,
            Self::Leakage => Concern::Leakage,
            Self::Conflicts => Concern::Conflicts,
            Self::Duplicates => Concern::Duplicates,
            Self::Drift => Concern::Drift,
            Self::Layout => Concern::Layout,
        }
    }
}

/// A name has no slash, so that a path with an equals sign is none.
fn parse_source(text: &str) -> Result<Source, String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(['/', ':']));
    let (name, uri) = named.unwrap_or_else(|| {
        let path = text.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or(path);
        let pattern = last.split_once('*').map(|(before, _)| before.trim_end_matches(['-', '.', '_']));
        (pattern.unwrap_or(last), text)
    });
    if name.is_empty() || uri.is_empty() {
        return Err("write a path or URI, or NAME=URI".to_owned());
    }
    Ok(Source { name: name.to_owned(), uri: uri.to_owned() })
}

fn parse_part(text: &str) -> Result<Part, String> {
    let numbers =
        text.split_once('/').and_then(|(number, parts)| Some((number.parse().ok()?, parts.parse().ok()?)));
    let part = numbers.map(|(number, parts)| Part { number, parts }).filter(|part| part.number < part.parts);
    part.ok_or_else(|| "write I/N with I from 0 to N - 1".to_owned())
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    shape_within(text, 16_384)
}

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    match analyze(&arguments).await {
        Ok(code) => code,
        Err(failed) => {
            eprintln!("error: {}", chain(failed.source.as_ref()));
            failed.code
        }
    }
}

struct Failed {
    source: Box<dyn std::error::Error + Send + Sync>,
    code: u8,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let code = if error.is_retryable() { exit_code::RETRYABLE } else { exit_code::DATA };
        Self { source: error.into(), code }
    }
}

impl From<lockstep_storage::Error> for Failed {
    fn from(error: lockstep_storage::Error) -> Self {
        let code = if error.is_retryable() { exit_code::RETRYABLE } else { exit_code::CONFIG };
        Self { source: error.into(), code }
    }
}

impl Failed {
    fn usage(words: impl Into<String>) -> Self {
        Self { source: words.into().into(), code: exit_code::USAGE }
    }
}

async fn analyze(arguments: &Arguments) -> Result<u8, Failed> {
    let analysis = Analysis::new(open_splits(arguments).await?, arguments.skip_duplicates);
    let partials = arguments.partials.as_deref().map(open).transpose()?;
    let outcome = match (arguments.part, arguments.merge, &partials) {
        (Some(part), _, Some(partials)) => {
            let (options, bar) = options(arguments, analysis.bytes(part));
            let done = analysis.run_part(part, partials, &options).await;
            bar.finish_and_clear();
            done?;
            println!("part {} of {} is in {}", part.number, part.parts, partials.uri());
            return Ok(exit_code::DONE);
        }
        (_, Some(parts), Some(partials)) => merge(&analysis, parts, partials, arguments.wait).await?,
        _ => {
            let (options, bar) = options(arguments, analysis.bytes(Part::WHOLE));
            let outcome = analysis.run(&options).await;
            bar.finish_and_clear();
            outcome?
        }
    };
    let report = outcome.report();
    write(arguments, &outcome, &report).await?;
    print!("{}", summary::text(&report));
    Ok(verdict_code(&report, &arguments.fail_on))
}

async fn open_splits(arguments: &Arguments) -> Result<Vec<Split>, Failed> {
    let mut splits: Vec<Split> = Vec::new();
    for Source { name, uri } in &arguments.splits {
        if splits.iter().any(|split| split.name == *name) {
            return Err(Failed::usage(format!("two data sets are named {name}: name them, NAME=URI")));
        }
        let (folder, pattern) = folder_and_pattern(uri);
        splits.push(Split::open(name, open(folder)?, pattern, arguments.format.format()).await?);
    }
    Ok(splits)
}

impl FormatArguments {
    fn format(&self) -> Format {
        let Self { image_feature, label_feature, shape, layout, classes } = self;
        Format {
            features: FeatureNames { image: image_feature.clone(), label: label_feature.clone() },
            encoding: None,
            layout: (*layout).into(),
            shape: *shape,
            classes: classes.as_ref().map(Classes::names),
        }
    }
}

/// Options, and the bar that shows the progress of `bytes`.
fn options(arguments: &Arguments, bytes: u64) -> (Options, ProgressBar) {
    let bar = ProgressBar::new(bytes);
    let template = "{wide_bar:.green/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let shown = bar.clone();
    let threads = arguments.threads.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    (Options { threads, progress: Some(Arc::new(move |bytes| shown.inc(bytes))) }, bar)
}

async fn merge(
    analysis: &Analysis,
    parts: NonZeroUsize,
    partials: &Store,
    wait: bool,
) -> Result<Outcome, Failed> {
    let parts = u32::try_from(parts.get()).map_err(|_| Failed::usage("--merge takes the number of parts"))?;
    let mut told = false;
    loop {
        match analysis.merge(parts, partials).await {
            // What is there of other data is from an analysis before this one, whose parts will replace it.
            Err(error @ (Error::MissingPartials { .. } | Error::ForeignPartial { .. })) if wait => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("waiting for the parts: {}", chain(&error));
                }
                tokio::time::sleep(WAIT).await;
            }
            merged => return Ok(merged?),
        }
    }
}

async fn write(arguments: &Arguments, outcome: &Outcome, report: &Report) -> Result<(), Failed> {
    if let Some(file) = &arguments.json {
        put(file, report.to_json()).await?;
    }
    if let Some(file) = &arguments.html {
        let gallery = outcome.gallery(report, arguments.samples).await?;
        put(file, page::html(report, &gallery).into_bytes()).await?;
    }
    Ok(())
}

/// Writes a file in one atomic step, wherever it is.
async fn put(file: &str, bytes: Vec<u8>) -> Result<(), Failed> {
    let no_file = || Failed::usage(format!("{file:?} is no name of a file"));
    let absolute = match file.contains("://") {
        true => file.to_owned(),
        false => {
            std::path::absolute(PathBuf::from(file)).map_err(|_| no_file())?.to_string_lossy().into_owned()
        }
    };
    let (folder, name) =
        absolute.rsplit_once('/').filter(|(_, name)| !name.is_empty()).ok_or_else(no_file)?;
    let folder = if folder.is_empty() { "/" } else { folder };
    Ok(open(folder)?.put(name, bytes.into()).await?)
}

fn verdict_code(report: &Report, fail_on: &[FailOn]) -> u8 {
    let fails = fail_on.iter().any(|wanted| report.has(wanted.concern()));
    if fails { exit_code::DATA } else { exit_code::DONE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_named_by_hand_or_by_their_folders() {
        for (text, name, uri) in [
            ("data/train", "train", "data/train"),
            ("hdfs://host:8020/cifar10/test/", "test", "hdfs://host:8020/cifar10/test/"),
            ("held-out=/data/x", "held-out", "/data/x"),
            ("/odd/a=b", "a=b", "/odd/a=b"),
            ("/data/cifar10-train.tfrecord-*", "cifar10-train.tfrecord", "/data/cifar10-train.tfrecord-*"),
        ] {
            assert_eq!(parse_source(text), Ok(Source { name: name.into(), uri: uri.into() }), "{text}");
        }
        for text in ["/", "train=", "/data/*"] {
            assert!(parse_source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_are_numbered_from_0() {
        assert_eq!(parse_part("3/4"), Ok(Part { number: 3, parts: 4 }));
        for text in ["4/4", "0/0", "1", "/2", "-1/2", "1/2/3"] {
            assert!(parse_part(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shapes_are_written_as_they_are_shown() {
        assert_eq!(parse_shape("32x24x3"), Ok(Shape { height: 32, width: 24, channels: 3 }));
        for text in ["32x32", "0x1x1", "32x32x3x1", "32x32x3xjunk", "axbxc", "32x32x17", ""] {
            assert!(parse_shape(text).is_err(), "{text}");
        }
    }
}
