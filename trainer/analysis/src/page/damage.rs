//! Records that cannot be read, by kind, and where they are.

use super::markup::{bytes, escape, more_in_json, table};
use crate::{
    Report,
    report::{SplitReport, grouped},
};

/// Rows of a split's table; the JSON has more.
const SHOWN: usize = 200;

pub(super) fn section(report: &Report) -> String {
    let splits: String =
        report.splits.iter().filter(|split| split.findings.total > 0).map(of_split).collect();
    let body = if splits.is_empty() { "<p>Every record could be read.</p>".to_owned() } else { splits };
    format!("<section id=\"damage\"><h2>Damage</h2>{body}</section>\n")
}

fn of_split(split: &SplitReport) -> String {
    let findings = &split.findings;
    let kinds: Vec<_> = findings
        .kinds
        .iter()
        .map(|kind| {
            vec![kind.title.to_owned(), grouped(kind.findings), grouped(kind.records), bytes(kind.bytes)]
        })
        .collect();
    let places: Vec<_> = findings
        .listed
        .iter()
        .take(SHOWN)
        .map(|finding| {
            vec![
                format!("<code>{}</code>", escape(&finding.shard)),
                grouped(finding.offset),
                escape(finding.kind.title()),
                format!("<span class=\"words\">{}</span>", escape(&finding.detail)),
            ]
        })
        .collect();
    let more = more_in_json(findings.total - places.len() as u64);
    let name = escape(&split.name);
    format!(
        "<h3>{name}</h3>{}<details{}><summary>Where: the first {}</summary>{}{more}</details>\n",
        table(&format!("Damage of {}", split.name), &["What", "Times", "Records lost", "Bytes lost"], &kinds),
        if places.len() <= 12 { " open" } else { "" },
        places.len(),
        table(&format!("Places in {}", split.name), &["Shard", "Byte", "What", "Error"], &places),
    )
}
