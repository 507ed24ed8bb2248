//! Plots as SVG: distributions as lines over filled areas, one for each of the series.
//!
//! The labels of the axis are text beside the drawing, so that they stay readable at any width.

use std::fmt::Write as _;

use super::markup::escape;

/// Height of the drawing, in its own units; a bin is one unit wide.
const HEIGHT: f64 = 100.0;

/// One distribution.
pub(super) struct Series<'a> {
    /// For the legend.
    pub(super) name: &'a str,
    /// CSS class that colours it.
    pub(super) class: &'a str,
    /// Counts by value.
    pub(super) counts: &'a [u64],
}

/// Distributions over the same values, each as shares of its own total, on one scale.
///
/// `labels`: what stands at the left end, in the middle and at the right end of the axis.
pub(super) fn histogram(title: &str, series: &[Series<'_>], labels: [&str; 3]) -> String {
    let bins = series.iter().map(|one| one.counts.len()).max().unwrap_or(1).max(1);
    let shares: Vec<Vec<f64>> = series.iter().map(|one| shares(one.counts)).collect();
    let highest = highest(&shares);
    let mut paths = String::new();
    for (one, shares) in series.iter().zip(&shares) {
        let line = line(shares, highest);
        let class = one.class;
        let _ = write!(
            paths,
            "<path class=\"area {class}\" d=\"M0 {HEIGHT}{line}V{HEIGHT}Z\"/><path class=\"line {class}\" d=\"M{}\"/>",
            line.trim_start_matches('L')
        );
    }
    let [left, middle, right] = labels;
    let title = escape(title);
    format!(
        "<figure class=\"plot\"><figcaption>{title}{}</figcaption>\
         <svg viewBox=\"0 0 {bins} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}\">{paths}</svg>\
         <div class=\"axis\" aria-hidden=\"true\"><span>{left}</span><span>{middle}</span><span>{right}</span></div></figure>\n",
        legend(series)
    )
}

/// Names and colours; nothing for a single series.
fn legend(series: &[Series<'_>]) -> String {
    if series.len() < 2 {
        return String::new();
    }
    let entry = |one: &Series<'_>| format!("<span class=\"key {}\">{}</span>", one.class, escape(one.name));
    format!("<span class=\"legend\">{}</span>", series.iter().map(entry).collect::<String>())
}

fn shares(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|count| *count as f64 / total).collect()
}

/// Of all bins but the outermost, which pile up what was cut off and would flatten the rest; these are cut in turn.
fn highest(shares: &[Vec<f64>]) -> f64 {
    let inner = |shares: &Vec<f64>| {
        let inner = shares.get(1..shares.len().saturating_sub(1)).unwrap_or_default();
        inner.iter().copied().fold(0.0, f64::max)
    };
    let all = |shares: &Vec<f64>| shares.iter().copied().fold(0.0, f64::max);
    let most = shares.iter().map(inner).fold(0.0, f64::max);
    if most > 0.0 { most } else { shares.iter().map(all).fold(f64::MIN_POSITIVE, f64::max) }
}

fn line(shares: &[f64], highest: f64) -> String {
    let mut line = String::new();
    for (bin, share) in shares.iter().enumerate() {
        let y = HEIGHT - HEIGHT * 0.96 * (share / highest).min(1.0);
        let _ = write!(line, "L{bin} {y:.1}H{}", bin + 1);
    }
    line
}

/// A bar of `share` of the width, for a table's cell.
pub(super) fn bar(share: f64, class: &str) -> String {
    let width = 100.0 * share.clamp(0.0, 1.0);
    format!("<span class=\"bar {class}\" style=\"width:{width:.1}%\"></span>")
}
