//! Sizes and encodings; brightness, contrast and range of values; each channel.

use super::{
    markup::{escape, percent, table},
    plot::{Series, histogram},
};
use crate::{
    Histogram, Report,
    report::{Channel, Distribution, LayoutVerdict, SplitReport, grouped},
};

/// Rows of the table of sizes; the JSON has all.
const SHOWN_FORMS: usize = 20;
const LEVEL_LABELS: [&str; 3] = ["0", "128", "255"];

/// Sizes and encodings.
pub(super) fn images(report: &Report) -> String {
    let rows: Vec<_> = report
        .splits
        .iter()
        .flat_map(|split| {
            split.images.iter().take(SHOWN_FORMS).map(|form| {
                vec![
                    escape(&split.name),
                    form.encoding.to_owned(),
                    format!("{} × {}", form.width, form.height),
                    form.channels.to_string(),
                    grouped(form.records),
                ]
            })
        })
        .collect();
    let head = ["Split", "Encoding", "Width × height", "Channels", "Images"];
    let layouts: String = report.splits.iter().filter_map(layout).collect();
    format!(
        "<section id=\"images\"><h2>Images</h2>{}{layouts}</section>\n",
        table("Sizes and encodings", &head, &rows)
    )
}

fn layout(split: &SplitReport) -> Option<String> {
    let layout = split.layout.as_ref()?;
    let judged = match layout.verdict {
        LayoutVerdict::Agrees => "which agrees",
        LayoutVerdict::Contradicts => "which contradicts it",
        LayoutVerdict::Undecided => "which does not tell",
    };
    Some(format!(
        "<p class=\"figures\">{}: declared layout {}. In {} images neighbouring pixels differ by {:.1} levels on average; they \
         would by {:.1} in the other layout, {judged}.</p>",
        escape(&split.name),
        layout.declared,
        layout.images,
        layout.declared_difference,
        layout.other_difference
    ))
}

/// Brightness, contrast and range.
pub(super) fn section(report: &Report) -> String {
    type Of = fn(&SplitReport) -> &Distribution;
    let plots: [(&str, Of, [&str; 3]); 5] = [
        ("Brightness of images (mean luma)", |split| &split.brightness, LEVEL_LABELS),
        ("Contrast of images (deviation of luma)", |split| &split.contrast, ["0", "64", "128"]),
        ("Darkest value of images", |split| &split.darkest, LEVEL_LABELS),
        ("Brightest value of images", |split| &split.brightest, LEVEL_LABELS),
        ("Saturated part of images (values 0 or 255)", |split| &split.saturated, ["0 %", "50 %", "100 %"]),
    ];
    let plots: String = plots
        .iter()
        .map(|(title, of, labels)| by_split(title, report, |split| &of(split).histogram, *labels))
        .collect();
    let rows: Vec<_> = report
        .splits
        .iter()
        .flat_map(|split| {
            [("brightness", &split.brightness), ("contrast", &split.contrast)]
                .map(|(name, values)| row(&format!("{}, {name}", split.name), values))
        })
        .collect();
    let range = report.splits.iter().map(|split| {
        format!(
            "<p class=\"figures\">{}: {} of all values are 0, {} are 255.</p>",
            escape(&split.name),
            percent(split.share_of_zero),
            percent(split.share_of_full)
        )
    });
    format!(
        "<section id=\"light\"><h2>Light</h2>{}\n<div class=\"plots\">{plots}</div>{}</section>\n",
        range.collect::<String>(),
        table("Brightness and contrast", &FIGURES, &rows)
    )
}

/// Values of each channel.
pub(super) fn channels(report: &Report) -> String {
    let plot = |split: &SplitReport| {
        let series: Vec<_> = split
            .channels
            .iter()
            .enumerate()
            .map(|(number, channel)| Series {
                name: &channel.name,
                class: colour(&channel.name, number),
                counts: channel.values.histogram.counts(),
            })
            .collect();
        histogram(&format!("Values of {}", split.name), &series, LEVEL_LABELS)
    };
    let plots: String = report.splits.iter().map(plot).collect();
    let named = |split: &SplitReport, channel: &Channel| {
        row(&format!("{}, {}", split.name, channel.name), &channel.values)
    };
    let rows: Vec<_> = report
        .splits
        .iter()
        .flat_map(|split| split.channels.iter().map(|channel| named(split, channel)))
        .collect();
    format!(
        "<section id=\"channels\"><h2>Channels</h2>{}<div class=\"plots\">{plots}</div></section>\n",
        table("Channels", &FIGURES, &rows)
    )
}

const FIGURES: [&str; 8] = ["", "Mean", "Deviation", "Least", "5 %", "Median", "95 %", "Greatest"];

fn row(name: &str, values: &Distribution) -> Vec<String> {
    let level = |level: Option<usize>| level.map_or("–".to_owned(), |level| level.to_string());
    vec![
        escape(name),
        format!("{:.2}", values.mean),
        format!("{:.2}", values.deviation),
        level(values.minimum),
        values.p5.to_string(),
        values.median.to_string(),
        values.p95.to_string(),
        level(values.maximum),
    ]
}

fn by_split<'a>(
    title: &str,
    report: &'a Report,
    of: impl Fn(&'a SplitReport) -> &'a Histogram,
    labels: [&str; 3],
) -> String {
    const CLASSES: [&str; 4] = ["series-0", "series-1", "series-2", "series-3"];
    let series: Vec<_> = report
        .splits
        .iter()
        .enumerate()
        .map(|(number, split)| Series {
            name: &split.name,
            class: CLASSES[number % 4],
            counts: of(split).counts(),
        })
        .collect();
    histogram(title, &series, labels)
}

fn colour(name: &str, number: usize) -> &'static str {
    match name {
        "red" => "red",
        "green" => "green",
        "blue" => "blue",
        _ => ["series-0", "series-1", "series-2", "series-3"][number % 4],
    }
}
