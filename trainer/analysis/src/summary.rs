//! The report on one screen of a terminal: the verdict, then the figures.

use std::fmt::Write as _;

use crate::{
    Report,
    report::{Severity, SplitReport, grouped},
};

/// Most lines of the summary.
pub const LINES: usize = 40;
/// Most characters of a line.
pub const COLUMNS: usize = 100;
const STATEMENTS: usize = 14;
const CLASSES: usize = 10;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// At most [`LINES`] lines of [`COLUMNS`] characters.
pub fn text(report: &Report) -> String {
    let mut lines = verdict(report);
    for split in &report.splits {
        lines.push(String::new());
        lines.extend(of_split(split));
    }
    if lines.len() > LINES {
        lines.truncate(LINES - 1);
        lines.push("… the other splits are in the JSON and the page".to_owned());
    }
    lines.iter().map(|line| cut(line) + "\n").collect()
}

fn verdict(report: &Report) -> Vec<String> {
    if report.verdict.is_empty() {
        return vec!["Nothing wrong was found.".to_owned()];
    }
    let line = |severity: Severity, text: &str| format!("{:<8} {text}", severity.word());
    let statements = report.verdict.iter().take(STATEMENTS);
    let mut lines: Vec<_> = statements.map(|statement| line(statement.severity, &statement.text)).collect();
    let more = report.verdict.len() - lines.len();
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn of_split(split: &SplitReport) -> Vec<String> {
    let mebibytes = split.bytes as f64 / f64::from(1 << 20);
    let mut lines = vec![format!(
        "{}: {} images in {} shards, {mebibytes:.1} MiB, {}",
        split.name,
        grouped(split.records),
        split.shards,
        forms(split)
    )];
    lines.push(format!("  classes     {}", classes(split)));
    for channel in &split.channels {
        let values = &channel.values;
        lines.push(format!(
            "  {:<11} mean {:6.2}  deviation {:6.2}  {}",
            channel.name,
            values.mean,
            values.deviation,
            sparkline(values.histogram.counts())
        ));
    }
    for (name, values) in [("brightness", &split.brightness), ("contrast", &split.contrast)] {
        lines.push(format!(
            "  {name:<11} mean {:6.2}  5 % to 95 % {:>3} to {:>3}  {}",
            values.mean,
            values.p5,
            values.p95,
            sparkline(values.histogram.counts())
        ));
    }
    lines
}

fn forms(split: &SplitReport) -> String {
    match &split.images[..] {
        [] => "no image".to_owned(),
        [one] => format!("{}x{}x{} {}", one.height, one.width, one.channels, one.encoding),
        [most, others @ ..] => format!(
            "mostly {}x{}x{} {}, {} other sizes or encodings",
            most.height,
            most.width,
            most.channels,
            most.encoding,
            others.len()
        ),
    }
}

fn classes(split: &SplitReport) -> String {
    let balance = &split.balance;
    let mut text = format!("{}, ", split.classes.len());
    let _ = if balance.smallest == balance.largest {
        write!(text, "{} images each: ", grouped(balance.largest))
    } else {
        write!(text, "{} to {} images: ", grouped(balance.smallest), grouped(balance.largest))
    };
    let names: Vec<_> = split.classes.iter().take(CLASSES).map(|class| class.name.as_str()).collect();
    let more = if split.classes.len() > CLASSES { ", …" } else { "" };
    text + &names.join(", ") + more
}

/// 32 bars, the highest one full.
fn sparkline(counts: &[u64]) -> String {
    let bins: Vec<u64> =
        counts.chunks(counts.len().div_ceil(32).max(1)).map(|part| part.iter().sum()).collect();
    let most = u128::from(bins.iter().copied().max().unwrap_or(0).max(1));
    let bar = |count: &u64| match u128::from(*count) {
        0 => ' ',
        count => BLOCKS[(count * (BLOCKS.len() as u128 - 1)).div_ceil(most) as usize],
    };
    bins.iter().map(bar).collect()
}

fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.trim_end().to_owned();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}
