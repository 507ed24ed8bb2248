//! How many images each class has, and what they look like.

use super::{
    markup::{escape, image, percent},
    plot::bar,
};
use crate::{
    Gallery, Report,
    pictures::SHOWN_CLASSES,
    report::{SplitReport, grouped},
};

/// Rows of the table; the JSON has all.
const SHOWN_ROWS: usize = 200;

pub(super) fn section(report: &Report) -> String {
    let columns = report.splits.iter().enumerate().map(|(number, split)| column(split, number));
    format!(
        "<section id=\"classes\"><h2>Classes</h2>\n<div class=\"columns\">{}</div></section>\n",
        columns.collect::<String>()
    )
}

fn column(split: &SplitReport, number: usize) -> String {
    let balance = &split.balance;
    let most = balance.largest.max(1) as f64;
    let row = |class: &crate::report::Class| {
        format!(
            "<tr><th scope=\"row\">{}</th><td class=\"bars\">{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&class.name),
            bar(class.records as f64 / most, &format!("series-{}", number % 4)),
            grouped(class.records),
            percent(class.share)
        )
    };
    let rows: String = split.classes.iter().take(SHOWN_ROWS).map(row).collect();
    let more = split.classes.len().saturating_sub(SHOWN_ROWS);
    let more = if more > 0 { format!("<p>{more} more classes are in the JSON.</p>") } else { String::new() };
    let ratio = balance.ratio.map_or("∞".to_owned(), |ratio| format!("{ratio:.2}"));
    let name = escape(&split.name);
    let (smallest, largest) = (grouped(balance.smallest), grouped(balance.largest));
    let images = if smallest == largest {
        format!("{largest} images each")
    } else {
        format!("{smallest} to {largest} images")
    };
    format!(
        "<div><h3>{name}</h3><p class=\"figures\">{images}, ratio {ratio}, entropy {:.3} bits, evenness {:.3}</p>\
         <div class=\"scroll\" role=\"region\" aria-label=\"Classes of {name}\" tabindex=\"0\"><table class=\"classes\">\
         <thead><tr><th scope=\"col\">Class</th><th scope=\"col\"><span class=\"hidden\">Share of the largest</span></th>\
         <th scope=\"col\">Images</th><th scope=\"col\">Share</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>{more}</div>",
        balance.entropy_bits, balance.evenness,
    )
}

/// Some images of each class.
pub(super) fn samples(report: &Report, gallery: &Gallery) -> String {
    let splits = report.splits.iter().enumerate().map(|(number, split)| of_split(split, number, gallery));
    let splits: String = splits.collect();
    let note = format!(
        "<p class=\"figures\">Chosen by the digests of the images, which is as good as by chance. At most {SHOWN_CLASSES} \
         classes are shown.</p>"
    );
    let body = if splits.is_empty() { "<p>No samples.</p>".to_owned() } else { note + &splits };
    format!("<section id=\"samples\"><h2>Samples</h2>{body}</section>\n")
}

fn of_split(split: &SplitReport, number: usize, gallery: &Gallery) -> String {
    let rows: String = gallery
        .samples(number)
        .map(|(label, pictures)| {
            let class = split.classes.get(label as usize).map_or("", |class| class.name.as_str());
            let description = format!("{class}, {}", split.name);
            let pictures: String = pictures.iter().map(|picture| image(picture, &description)).collect();
            format!(
                "<div class=\"class\"><h4>{}</h4><div class=\"strip\">{pictures}</div></div>\n",
                escape(class)
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("<h3>{}</h3><div class=\"samples\">{rows}</div>", escape(&split.name))
}
