//! The report as one HTML file that needs nothing else: no script, no request, pictures and plots inside.
//!
//! The verdict comes first, each sentence linked to its detail. `markup` escapes and formats, `plot` draws, the other
//! modules are the sections.

use crate::{
    Gallery, Report,
    report::{SplitReport, grouped},
};

mod classes;
mod damage;
mod drift;
mod light;
mod markup;
mod plot;
mod repeats;

use markup::{bytes, escape, table};

const STYLE: &str = include_str!("page/style.css");

/// The whole file.
pub fn html(report: &Report, gallery: &Gallery) -> String {
    let names: Vec<_> = report.splits.iter().map(|split| split.name.as_str()).collect();
    let names = escape(&names.join(", "));
    let sections = [
        verdict(report),
        overview(report),
        classes::section(report),
        classes::samples(report, gallery),
        light::images(report),
        light::section(report),
        light::channels(report),
        damage::section(report),
        repeats::leakage(report, gallery),
        repeats::conflicts(report, gallery),
        repeats::duplicates(report, gallery),
        drift::section(report),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Data analysis: {names}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><p class=\"kind\">Data analysis</p><h1>{names}</h1>{}</header>\n<main>\n{sections}</main>\n\
         <footer><p>Figures are about intact records only. Deviations are population standard deviations. Luma is that of \
         ITU-R BT.601. Written by <code>lockstep analyze</code>, format {}.</p></footer>\n</body>\n</html>\n",
        contents(report),
        report.version,
    )
}

fn contents(report: &Report) -> String {
    let mut links =
        vec![("classes", "Classes"), ("samples", "Samples"), ("images", "Images"), ("light", "Light")];
    links.extend([("channels", "Channels"), ("damage", "Damage")]);
    if report.compared {
        links.extend([("leakage", "Leakage"), ("conflicts", "Conflicts"), ("duplicates", "Duplicates")]);
    }
    if !report.drift.is_empty() {
        links.push(("drift", "Drift"));
    }
    let links: String = links.iter().map(|(id, title)| format!("<a href=\"#{id}\">{title}</a> ")).collect();
    format!("<nav aria-label=\"Sections\">{links}</nav>")
}

fn verdict(report: &Report) -> String {
    if report.verdict.is_empty() {
        return "<section id=\"verdict\" class=\"clean\"><h2>Verdict</h2><p>Nothing wrong was found.</p></section>\n".into();
    }
    let item = |statement: &crate::report::Statement| {
        let word = statement.severity.word();
        format!(
            "<li class=\"{word}\"><span class=\"mark\">{word}</span><a href=\"#{}\">{}</a></li>\n",
            statement.concern.anchor(),
            escape(&statement.text)
        )
    };
    let items: String = report.verdict.iter().map(item).collect();
    format!("<section id=\"verdict\"><h2>Verdict</h2>\n<ul class=\"verdict\">\n{items}</ul></section>\n")
}

fn overview(report: &Report) -> String {
    let row = |split: &SplitReport| {
        vec![
            escape(&split.name),
            grouped(split.records),
            grouped(split.findings.records),
            grouped(split.duplicates.records),
            split.classes.len().to_string(),
            split.shards.to_string(),
            bytes(split.bytes),
            format!("<code>{}</code>", escape(&split.uri)),
        ]
    };
    let head = ["Split", "Images", "Unreadable", "Duplicates", "Classes", "Shards", "Size", "Where"];
    let rows: Vec<_> = report.splits.iter().map(row).collect();
    format!("<section id=\"overview\"><h2>Overview</h2>{}</section>\n", table("Splits", &head, &rows))
}
