//! How far the splits are from the first one.

use super::markup::{escape, table};
use crate::{
    Report,
    report::{Drift, LevelDrift, Shift},
};

pub(super) fn section(report: &Report) -> String {
    if report.drift.is_empty() {
        return String::new();
    }
    let drifts: String = report.drift.iter().map(of).collect();
    format!(
        "<section id=\"drift\"><h2>Drift</h2>{drifts}<p class=\"figures\">Distance of classes: total variation of their \
         shares, slight from 0.05, strong from 0.15. Of levels: Wasserstein distance, slight from 5, strong from 15. What \
         chance would do once in a hundred times is no drift.</p></section>\n"
    )
}

fn of(drift: &Drift) -> String {
    let classes = &drift.classes;
    let chi_square = format!(
        "χ² {:.1} with {} degrees of freedom, p = {:.3}",
        classes.chi_square, classes.degrees_of_freedom, classes.p_value
    );
    let mut rows = vec![vec![
        "classes".to_owned(),
        format!("{:.4}", classes.total_variation),
        chi_square,
        shift(classes.shift),
    ]];
    let levels = |level: &LevelDrift| {
        vec![
            escape(&level.name),
            format!("{:.2}", level.wasserstein),
            format!("Kolmogorov–Smirnov {:.4}", level.kolmogorov_smirnov),
            shift(level.shift),
        ]
    };
    rows.push(levels(&drift.brightness));
    rows.extend(drift.channels.iter().map(levels));
    let title = format!("From {} to {}", drift.from, drift.to);
    format!("<h3>{}</h3>{}", escape(&title), table(&title, &["Of", "Distance", "Test", "Drift"], &rows))
}

fn shift(shift: Shift) -> String {
    format!("<span class=\"shift-{0}\">{0}</span>", shift.word())
}
