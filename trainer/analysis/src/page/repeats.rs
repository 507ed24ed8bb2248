//! Images that occur more than once, each with its picture and its places.

use super::markup::{escape, image, more_in_json};
use crate::{
    Gallery, Report,
    pictures::SHOWN_GROUPS,
    report::{GroupReport, GroupsReport, PlaceReport, grouped},
};

/// Places of a group that are shown; the JSON has more.
const SHOWN_PLACES: usize = 6;

/// Images of one split in another.
pub(super) fn leakage(report: &Report, gallery: &Gallery) -> String {
    let leaks = report.leaks.iter().map(|leak| {
        let title = format!("{} of {} also stand in {}", grouped(leak.images.records), leak.into, leak.from);
        cards(&title, &leak.images, gallery)
    });
    section(report, "leakage", "Leakage", leaks.collect(), "No image stands in two splits.")
}

/// One image, several classes.
pub(super) fn conflicts(report: &Report, gallery: &Gallery) -> String {
    let conflicts = &report.conflicts;
    let body = match conflicts.groups {
        0 => String::new(),
        images => cards(&format!("{} images with several labels", grouped(images)), conflicts, gallery),
    };
    section(report, "conflicts", "Label conflicts", body, "No image has several labels.")
}

/// One image and class, several records.
pub(super) fn duplicates(report: &Report, gallery: &Gallery) -> String {
    let splits = report.splits.iter().filter(|split| split.duplicates.groups > 0).map(|split| {
        let title = format!(
            "{}: {} records repeat {} images",
            split.name,
            grouped(split.duplicates.records),
            grouped(split.duplicates.groups)
        );
        cards(&title, &split.duplicates, gallery)
    });
    section(report, "duplicates", "Duplicates", splits.collect(), "No image is repeated within a split.")
}

fn section(report: &Report, id: &str, title: &str, body: String, none: &str) -> String {
    if !report.compared {
        return String::new();
    }
    let body = if body.is_empty() { format!("<p>{none}</p>") } else { body };
    format!("<section id=\"{id}\"><h2>{title}</h2>{body}</section>\n")
}

fn cards(title: &str, groups: &GroupsReport, gallery: &Gallery) -> String {
    let cards: String = groups.listed.iter().take(SHOWN_GROUPS).map(|group| card(group, gallery)).collect();
    let more = more_in_json(groups.groups - groups.listed.len().min(SHOWN_GROUPS) as u64);
    format!("<h3>{}</h3><div class=\"cards\">{cards}</div>{more}\n", escape(title))
}

fn card(group: &GroupReport, gallery: &Gallery) -> String {
    let first = group.places.first();
    let picture = first.and_then(|first| Some((gallery.at(&first.place)?, first)));
    let picture = picture.map_or_else(
        || "<span class=\"gone\">no picture</span>".to_owned(),
        |(picture, first)| image(picture, &format!("{}, {}", first.class, first.split)),
    );
    let place = |place: &PlaceReport| {
        format!(
            "<li><b>{}</b> {} <code>{} @ {}</code></li>",
            escape(&place.class),
            escape(&place.split),
            escape(&place.shard),
            grouped(place.offset)
        )
    };
    let shown = group.places.len().min(SHOWN_PLACES);
    let places: String = group.places.iter().take(shown).map(place).collect();
    let more = group.records - shown as u64;
    let more = if more > 0 { format!("<li>{} more</li>", grouped(more)) } else { String::new() };
    format!("<div class=\"card\">{picture}<ul>{places}{more}</ul></div>\n")
}
