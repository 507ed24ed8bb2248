//! The result of an analysis: everything that JSON, page and terminal show. Computed once, from counts, in a fixed order,
//! with operations that IEEE 754 defines exactly or that `libm` brings along: the same bits on every machine.

use lockstep_records::{LayoutFinding, layout_check::Verdict};
use serde::Serialize;

use crate::{
    Outcome,
    finding::{Findings, Kind},
    histogram::{Histogram, ratio},
    repeats::{Group, Groups, Place},
    split::Split,
    tally::Tally,
};

mod drift;
mod verdict;

pub use drift::{ClassDrift, Drift, LevelDrift, Shift};
pub(crate) use verdict::grouped;
pub use verdict::{Concern, Severity, Statement};

/// Version of the JSON's format.
pub const VERSION: u32 = 1;

/// All that is known of the data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// What is wrong, worst first; empty where nothing was found.
    pub verdict: Vec<Statement>,
    /// In the order in which they were named.
    pub splits: Vec<SplitReport>,
    /// Whether images were compared with each other.
    pub compared: bool,
    /// One image, several classes.
    pub conflicts: GroupsReport,
    /// One image, several splits.
    pub leaks: Vec<Leak>,
    /// Of every split against the first one.
    pub drift: Vec<Drift>,
}

/// What was found in one split.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitReport {
    /// As given.
    pub name: String,
    /// Its folder.
    pub uri: String,
    /// Whether it has a `dataset.json`.
    pub has_manifest: bool,
    /// TFRecord files.
    pub shards: u64,
    /// Their size.
    pub bytes: u64,
    /// Intact records: all figures are about these.
    pub records: u64,
    /// By label; classes without records are there too.
    pub classes: Vec<Class>,
    /// How even the classes are.
    pub balance: Balance,
    /// By how much there is of each.
    pub images: Vec<Form>,
    /// By channel.
    pub channels: Vec<Channel>,
    /// Share of all values that are 0.
    pub share_of_zero: f64,
    /// Share of all values that are 255.
    pub share_of_full: f64,
    /// Images by mean luma (BT.601), rounded.
    pub brightness: Distribution,
    /// Images by the deviation of their luma, rounded.
    pub contrast: Distribution,
    /// Images by their least value.
    pub darkest: Distribution,
    /// Images by their greatest value.
    pub brightest: Distribution,
    /// Images by the percentage of their values that are 0 or 255, rounded down.
    pub saturated: Distribution,
    /// Whether raw images stand as the data set says; `null` of others, and where images were not compared.
    pub layout: Option<LayoutReport>,
    /// What is wrong with records.
    pub findings: FindingsReport,
    /// One image and class, several records.
    pub duplicates: GroupsReport,
}

/// Records of one class.
#[derive(Clone, Debug, Serialize)]
pub struct Class {
    /// As in the records.
    pub label: u32,
    /// Its name; the label where it has none.
    pub name: String,
    /// Intact records.
    pub records: u64,
    /// Of all intact records.
    pub share: f64,
}

/// How even the classes are.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Records of the smallest class.
    pub smallest: u64,
    /// Records of the largest class.
    pub largest: u64,
    /// Largest by smallest; `null` where a class has no record.
    pub ratio: Option<f64>,
    /// Shannon entropy of the classes' shares.
    pub entropy_bits: f64,
    /// Entropy by that of equal shares: 1 is even.
    pub evenness: f64,
}

/// Images of one size and encoding.
#[derive(Clone, Debug, Serialize)]
pub struct Form {
    /// `raw`, `png` or `jpeg`.
    pub encoding: &'static str,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Values of a pixel.
    pub channels: u32,
    /// How many there are.
    pub records: u64,
}

/// Values of one channel, over all pixels of all images.
#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    /// `red`, `green`, `blue`, `grey`, or a number.
    pub name: String,
    /// Its distribution.
    #[serde(flatten)]
    pub values: Distribution,
}

/// Whether raw images stand in their declared layout.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutReport {
    /// `HWC` or `CHW`, as the data set says.
    pub declared: String,
    /// What the images say.
    pub verdict: LayoutVerdict,
    /// Images that were looked at.
    pub images: u64,
    /// Mean absolute difference between neighbouring pixels of a channel, with the declared layout.
    pub declared_difference: f64,
    /// The same with the other one.
    pub other_difference: f64,
}

/// What images say of their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LayoutVerdict {
    /// They stand in it.
    Agrees,
    /// They stand in the other one.
    Contradicts,
    /// They do not tell.
    Undecided,
}

/// Counts by value, and figures of them.
#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub deviation: f64,
    /// Least value; `null` of none.
    pub minimum: Option<usize>,
    /// The value that a twentieth does not exceed.
    pub p5: usize,
    /// The value that half does not exceed.
    pub median: usize,
    /// The value that all but a twentieth do not exceed.
    pub p95: usize,
    /// Greatest value; `null` of none.
    pub maximum: Option<usize>,
    /// By value, from 0.
    pub histogram: Histogram,
}

/// What is wrong with records of a split.
#[derive(Clone, Debug, Serialize)]
pub struct FindingsReport {
    /// All findings.
    pub total: u64,
    /// Records that cannot be read, as far as is known.
    pub records: u64,
    /// Kinds that occur.
    pub kinds: Vec<KindReport>,
    /// The first [`crate::finding::LISTED_FINDINGS`], by place.
    pub listed: Vec<FindingReport>,
}

/// How much there is of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct KindReport {
    /// Which.
    pub kind: Kind,
    /// In words.
    pub title: &'static str,
    /// How many.
    pub findings: u64,
    /// Records that they make unreadable.
    pub records: u64,
    /// Bytes that they make unreadable.
    pub bytes: u64,
}

/// One damage.
#[derive(Clone, Debug, Serialize)]
pub struct FindingReport {
    /// What.
    pub kind: Kind,
    /// File in the split's folder.
    pub shard: String,
    /// Where the record begins in it, in bytes.
    pub offset: u64,
    /// Records that it makes unreadable.
    pub records: u64,
    /// Bytes that it makes unreadable.
    pub bytes: u64,
    /// The error, in words.
    pub detail: String,
}

/// Groups of records with one image.
#[derive(Clone, Debug, Serialize)]
pub struct GroupsReport {
    /// All groups.
    pub groups: u64,
    /// Records too many; of conflicts all records.
    pub records: u64,
    /// The first [`crate::repeats::LISTED_GROUPS`], by place.
    pub listed: Vec<GroupReport>,
}

/// Records with one image.
#[derive(Clone, Debug, Serialize)]
pub struct GroupReport {
    /// All of them.
    pub records: u64,
    /// The first [`crate::repeats::LISTED_RECORDS`], by place.
    pub places: Vec<PlaceReport>,
}

/// Where a record stands.
#[derive(Clone, Debug, Serialize)]
pub struct PlaceReport {
    /// Name of the split.
    pub split: String,
    /// File in the split's folder.
    pub shard: String,
    /// Where the record begins in it, in bytes.
    pub offset: u64,
    /// Name of its class.
    pub class: String,
    #[serde(skip)]
    pub(crate) place: Place,
}

/// Images of one split that stand in another, too.
#[derive(Clone, Debug, Serialize)]
pub struct Leak {
    /// The split that was named before.
    pub from: String,
    /// The one in which the images should not be.
    pub into: String,
    /// Groups of them; the first place is in `from`.
    #[serde(flatten)]
    pub images: GroupsReport,
}

/// Draws everything up.
pub(crate) fn of(outcome: &Outcome) -> Report {
    let Outcome { splits, tallies, repeats, layouts, compared } = outcome;
    let group = |groups: &Groups| groups_report(splits, groups);
    let reports: Vec<_> = splits
        .iter()
        .zip(tallies)
        .zip(&repeats.duplicates)
        .zip(layouts)
        .map(|(((split, tally), duplicates), layout)| {
            split_report(split, tally, group(duplicates), layout.as_ref())
        })
        .collect();
    let leaks = repeats.leaks.iter().map(|((from, into), images)| Leak {
        from: splits[*from].name.clone(),
        into: splits[*into].name.clone(),
        images: group(images),
    });
    let drift = reports
        .split_first()
        .map(|(first, others)| others.iter().map(|other| drift::between(first, other)).collect::<Vec<_>>());
    let mut report = Report {
        version: VERSION,
        verdict: Vec::new(),
        compared: *compared,
        conflicts: group(&repeats.conflicts),
        leaks: leaks.collect(),
        drift: drift.unwrap_or_default(),
        splits: reports,
    };
    report.verdict = verdict::of(&report);
    report
}

impl Report {
    /// Whether there is trouble of this sort, other than a mere note.
    pub fn has(&self, concern: Concern) -> bool {
        let is_it =
            |statement: &Statement| statement.concern == concern && statement.severity != Severity::Note;
        self.verdict.iter().any(is_it)
    }

    /// As a text: the same bytes for the same data.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a report holds nothing that JSON cannot");
        json.push(b'\n');
        json
    }
}

fn split_report(
    split: &Split,
    tally: &Tally,
    duplicates: GroupsReport,
    layout: Option<&LayoutFinding>,
) -> SplitReport {
    let Tally { records, labels: _, forms, channels, levels, findings, fingerprints: _ } = tally;
    let classes = classes(split, tally);
    let mut images: Vec<_> = forms
        .iter()
        .map(|(form, records)| Form {
            encoding: form.encoding,
            height: form.height,
            width: form.width,
            channels: form.channels,
            records: *records,
        })
        .collect();
    images.sort_by_key(|form| std::cmp::Reverse(form.records));
    let values = channels.iter().map(|channel| u128::from(channel.total())).sum();
    let share = |level: usize| {
        ratio(channels.iter().map(|channel| u128::from(channel.counts()[level])).sum(), values)
    };
    let named = |(number, values): (usize, &Histogram)| Channel {
        name: channel_name(number, channels.len()),
        values: distribution(values),
    };
    SplitReport {
        name: split.name.clone(),
        uri: split.uri().to_owned(),
        has_manifest: split.has_manifest,
        shards: split.shards.len() as u64,
        bytes: split.bytes(),
        records: *records,
        balance: balance(&classes),
        classes,
        images,
        share_of_zero: share(0),
        share_of_full: share(255),
        channels: channels.iter().enumerate().map(named).collect(),
        brightness: distribution(&levels.brightness),
        contrast: distribution(&levels.contrast),
        darkest: distribution(&levels.darkest),
        brightest: distribution(&levels.brightest),
        saturated: distribution(&levels.saturated),
        layout: layout.map(layout_report),
        findings: findings_report(split, findings),
        duplicates,
    }
}

fn classes(split: &Split, tally: &Tally) -> Vec<Class> {
    let named = split.format.classes.as_ref().map_or(0, |classes| classes.len() as u32);
    let found = tally.labels.last_key_value().map_or(0, |(label, _)| label + 1);
    let class = |label: u32| {
        let records = tally.labels.get(&label).copied().unwrap_or(0);
        let share = ratio(records.into(), tally.records.into());
        Class { label, name: split.format.class(label), records, share }
    };
    (0..named.max(found)).map(class).collect()
}

fn balance(classes: &[Class]) -> Balance {
    let counts = || classes.iter().map(|class| class.records);
    let (smallest, largest) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    let term = |share: f64| if share > 0.0 { -share * libm::log2(share) } else { 0.0 };
    let entropy_bits = classes.iter().map(|class| term(class.share)).sum::<f64>();
    let even = libm::log2(classes.len().max(1) as f64);
    Balance {
        smallest,
        largest,
        ratio: (smallest > 0).then(|| largest as f64 / smallest as f64),
        entropy_bits,
        evenness: if even > 0.0 { entropy_bits / even } else { 1.0 },
    }
}

fn distribution(histogram: &Histogram) -> Distribution {
    Distribution {
        mean: histogram.mean(),
        deviation: histogram.deviation(),
        minimum: histogram.minimum(),
        p5: histogram.quantile(0.05),
        median: histogram.quantile(0.5),
        p95: histogram.quantile(0.95),
        maximum: histogram.maximum(),
        histogram: histogram.clone(),
    }
}

fn channel_name(number: usize, of: usize) -> String {
    let names: &[&str] = match of {
        1 => &["grey"],
        3 => &["red", "green", "blue"],
        4 => &["red", "green", "blue", "alpha"],
        _ => &[],
    };
    names.get(number).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn layout_report(finding: &LayoutFinding) -> LayoutReport {
    let LayoutFinding { verdict, declared, images, declared_difference, other_difference } = *finding;
    LayoutReport {
        declared: declared.to_string(),
        verdict: match verdict {
            Verdict::Agrees => LayoutVerdict::Agrees,
            Verdict::Contradicts => LayoutVerdict::Contradicts,
            Verdict::Undecided => LayoutVerdict::Undecided,
        },
        images,
        declared_difference,
        other_difference,
    }
}

fn findings_report(split: &Split, findings: &Findings) -> FindingsReport {
    let kinds = findings.counts().iter().map(|(kind, count)| KindReport {
        kind: *kind,
        title: kind.title(),
        findings: count.findings,
        records: count.records,
        bytes: count.bytes,
    });
    let listed = findings.listed().map(|finding| FindingReport {
        kind: finding.kind,
        shard: split.shards[finding.shard as usize].name.clone(),
        offset: finding.offset,
        records: finding.records,
        bytes: finding.bytes,
        detail: finding.detail.clone(),
    });
    FindingsReport {
        total: findings.total(),
        records: findings.records(),
        kinds: kinds.collect(),
        listed: listed.collect(),
    }
}

fn groups_report(splits: &[Split], groups: &Groups) -> GroupsReport {
    let place = |place: &Place| {
        let split = &splits[place.split];
        PlaceReport {
            split: split.name.clone(),
            shard: split.shards[place.shard as usize].name.clone(),
            offset: place.offset,
            class: split.format.class(place.label),
            place: *place,
        }
    };
    let listed = groups.listed().map(|Group { records, places }| GroupReport {
        records: *records,
        places: places.iter().map(place).collect(),
    });
    GroupsReport { groups: groups.groups, records: groups.records, listed: listed.collect() }
}
