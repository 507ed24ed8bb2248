//! What is wrong with the data, in plain sentences, worst first. All else on the report is the detail of these.

use serde::Serialize;

use super::{Drift, KindReport, LayoutReport, LayoutVerdict, Report, Shift, SplitReport};

/// The largest class is this many times the smallest before that is said.
const UNEVEN: f64 = 3.0;
/// Share of images of one level before that is said.
const MANY_BLANK: f64 = 0.01;

/// Sorts of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Concern {
    /// Records that cannot be read.
    Corrupt,
    /// Images of one split in another.
    Leakage,
    /// Raw images in another layout than is said.
    Layout,
    /// One image, several classes.
    Conflicts,
    /// One image and class, several records.
    Duplicates,
    /// Splits of different distributions.
    Drift,
    /// Classes of very different size.
    Imbalance,
    /// Images of several sizes or encodings.
    Sizes,
    /// Images of one level.
    Blank,
}

impl Concern {
    /// Id of the section that has the details.
    pub fn anchor(self) -> &'static str {
        match self {
            Self::Corrupt => "damage",
            Self::Leakage => "leakage",
            Self::Layout => "images",
            Self::Conflicts => "conflicts",
            Self::Duplicates => "duplicates",
            Self::Drift => "drift",
            Self::Imbalance => "classes",
            Self::Sizes => "images",
            Self::Blank => "light",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Training fails, or its result deceives.
    Problem,
    /// Often a mistake.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub concern: Concern,
    /// The sentence.
    pub text: String,
}

pub(super) fn of(report: &Report) -> Vec<Statement> {
    let mut statements: Vec<Statement> = report.splits.iter().flat_map(of_split).collect();
    for leak in report.leaks.iter().filter(|leak| leak.images.records > 0) {
        let records = counted(leak.images.records, "record");
        let text = format!("{records} of {} also stand in {}", leak.into, leak.from);
        statements.push(statement(Severity::Problem, Concern::Leakage, text));
    }
    if report.conflicts.groups > 0 {
        let images = counted(report.conflicts.groups, "image");
        let text = format!("{images} carry several labels ({})", counted(report.conflicts.records, "record"));
        statements.push(statement(Severity::Problem, Concern::Conflicts, text));
    }
    statements.extend(report.drift.iter().filter_map(of_drift));
    statements.sort_by_key(|statement| (statement.severity, statement.concern));
    statements
}

fn of_split(split: &SplitReport) -> Vec<Statement> {
    let name = &split.name;
    let mut statements = Vec::new();
    if split.findings.total > 0 {
        let kind = |kind: &KindReport| format!("{} ×{}", kind.title, grouped(kind.findings));
        let kinds: Vec<_> = split.findings.kinds.iter().map(kind).collect();
        let text =
            format!("{name}: {} unreadable: {}", counted(split.findings.records, "record"), kinds.join(", "));
        statements.push(statement(Severity::Problem, Concern::Corrupt, text));
    }
    let contradicts = |layout: &&LayoutReport| layout.verdict == LayoutVerdict::Contradicts;
    if let Some(layout) = split.layout.as_ref().filter(contradicts) {
        let declared = &layout.declared;
        let other = if declared == "HWC" { "CHW" } else { "HWC" };
        let text =
            format!("{name}: images stand in {other}, the data set says {declared}: every one is scrambled");
        statements.push(statement(Severity::Problem, Concern::Layout, text));
    }
    if split.duplicates.records > 0 {
        let records = counted(split.duplicates.records, "record");
        let text = format!("{name}: {records} repeat an image and label of another");
        statements.push(statement(Severity::Warning, Concern::Duplicates, text));
    }
    if split.records > 0 && split.balance.ratio.is_none_or(|ratio| ratio >= UNEVEN) {
        let text = match split.balance.ratio {
            Some(ratio) => {
                format!("{name}: the largest class has {ratio:.1} times the records of the smallest")
            }
            None => {
                let empty = split.classes.iter().filter(|class| class.records == 0).count() as u64;
                format!("{name}: {} without a record", counted_as(empty, "class", "classes"))
            }
        };
        statements.push(statement(Severity::Warning, Concern::Imbalance, text));
    }
    if split.images.len() > 1 {
        let text = format!("{name}: images of {} sizes or encodings", split.images.len());
        statements.push(statement(Severity::Note, Concern::Sizes, text));
    }
    let blank = split.contrast.histogram.counts()[0];
    if split.records > 0 && blank as f64 >= MANY_BLANK * split.records as f64 {
        let text = format!("{name}: {} of a single grey level", counted(blank, "image"));
        statements.push(statement(Severity::Note, Concern::Blank, text));
    }
    statements
}

fn of_drift(drift: &Drift) -> Option<Statement> {
    let severity = match drift.shift {
        Shift::None => return None,
        Shift::Slight => Severity::Note,
        Shift::Strong => Severity::Warning,
    };
    let parts = [("class shares", drift.classes.shift), ("brightness", drift.brightness.shift)];
    let channels = drift.channels.iter().map(|channel| (channel.name.as_str(), channel.shift));
    let named: Vec<_> = parts
        .into_iter()
        .chain(channels)
        .filter(|(_, shift)| *shift == drift.shift)
        .map(|(name, _)| name)
        .collect();
    let word = drift.shift.word();
    let text =
        format!("{} is not distributed as {}: {word} drift of {}", drift.to, drift.from, named.join(", "));
    Some(statement(severity, Concern::Drift, text))
}

fn statement(severity: Severity, concern: Concern, text: String) -> Statement {
    Statement { severity, concern, text }
}

fn counted(count: u64, one: &str) -> String {
    counted_as(count, one, &format!("{one}s"))
}

fn counted_as(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// Digits in groups of three: 50,000.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_three() {
        let written = [0, 12, 999, 1000, 50_000, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "12", "999", "1,000", "50,000", "1,234,567"]);
    }
}
