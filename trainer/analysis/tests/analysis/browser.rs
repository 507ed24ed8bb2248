//! The page in a real browser: it needs nothing but itself, and fits a phone and a desktop.
//!
//! `LOCKSTEP_BROWSER` names a Chromium: `scripts/browser.sh` finds or installs one. With `LOCKSTEP_SCREENSHOTS` naming a
//! folder, what was seen is kept there.

mod chromium;

use std::path::{Path, PathBuf};

use lockstep_analysis::page;
use serde_json::{Value, json};

use crate::support::{Planted, analyse, plant};
use chromium::{Browser, Tab};

/// Sizes of a phone and a desktop, in CSS pixels.
const SCREENS: [(&str, u32, u32); 2] = [("phone", 390, 844), ("desktop", 1440, 900)];

fn browser() -> Option<PathBuf> {
    let Some(browser) = std::env::var_os("LOCKSTEP_BROWSER").filter(|browser| !browser.is_empty()) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must set LOCKSTEP_BROWSER");
        eprintln!("skipped: LOCKSTEP_BROWSER is not set (scripts/browser.sh)");
        return None;
    };
    Some(browser.into())
}

async fn write_page(folder: &Path) -> (PathBuf, Planted) {
    let planted = plant(folder);
    let outcome = analyse(folder, &["train", "test"]).await;
    let report = outcome.report();
    let file = folder.join("report.html");
    std::fs::write(&file, page::html(&report, &outcome.gallery(&report, 8).await.unwrap())).unwrap();
    (file, planted)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_stands_alone_and_fits_a_phone_and_a_desktop() {
    let Some(program) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, planted) = write_page(folder.path()).await;
    let mut browser = Browser::start(&program).await;
    for (name, width, height) in SCREENS {
        for scheme in ["light", "dark"] {
            let mut tab = browser.open(width, height, scheme, &format!("file://{}", file.display())).await;
            assert_eq!(tab.complaints(), [""; 0], "{name} {scheme}");
            assert_eq!(tab.requests(), [format!("file://{}", file.display())], "{name} {scheme}");
            assert_fits(&mut tab, width).await;
            assert_pictures_are_there(&mut tab).await;
            assert_findings_are_told(&mut tab, &planted).await;
            if let Some(kept) = std::env::var_os("LOCKSTEP_SCREENSHOTS") {
                let picture = Path::new(&kept).join(format!("analysis-{name}-{scheme}.png"));
                std::fs::write(picture, tab.screenshot().await).unwrap();
            }
        }
    }
    browser.close().await;
}

/// Nothing but tables is wider than the screen, and these scroll within themselves.
async fn assert_fits(tab: &mut Tab<'_>, width: u32) {
    let found = tab
        .evaluate(
            "({ page: document.documentElement.scrollWidth,
                wide: [...document.querySelectorAll('body *')]
                    .filter(e => !e.closest('.scroll') && !e.closest('.hidden') && !e.closest('svg'))
                    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
                    .map(e => e.outerHTML.slice(0, 80)) })",
        )
        .await;
    assert_eq!(found, json!({"page": width, "wide": []}));
}

async fn assert_pictures_are_there(tab: &mut Tab<'_>) {
    let found = tab
        .evaluate(
            "({ all: document.images.length,
                empty: [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length,
                nameless: [...document.images].filter(i => !i.alt).length,
                plots: document.querySelectorAll('svg[role=img][aria-label]').length })",
        )
        .await;
    assert!(found["all"].as_u64() > Some(100) && found["plots"].as_u64() >= Some(7), "{found}");
    assert_eq!((&found["empty"], &found["nameless"]), (&json!(0), &json!(0)));
}

async fn assert_findings_are_told(tab: &mut Tab<'_>, planted: &Planted) {
    let verdict = tab.evaluate("document.querySelector('#verdict').innerText").await;
    let verdict = verdict.as_str().unwrap();
    for words in
        ["20 records of test also stand in train", "50 images carry several labels", "200 records repeat"]
    {
        assert!(verdict.contains(words), "{words:?} is not in {verdict}");
    }
    for number in ["shard truncated ×5", "label out of range ×50"] {
        assert!(verdict.contains(number), "{number:?} is not in {verdict}");
    }
    let dead = tab
        .evaluate("[...document.links].filter(a => !document.querySelector(a.hash)).map(a => a.href)")
        .await;
    assert_eq!(dead, Value::Array(Vec::new()), "links that lead nowhere");
    let damage = tab.evaluate("document.querySelector('#damage').textContent").await;
    for (_, shard, _) in &planted.truncated {
        assert!(damage.as_str().unwrap().contains(shard.as_str()), "{shard} is not told");
    }
}
