//! The data sets: where they are, what they hold, how they are read.

use std::collections::BTreeSet;

use super::{Report, defaults::*, uri};
use crate::{
    resolved::{ResolvedClasses, ResolvedData, ResolvedFormat, ResolvedSelection},
    spec::{
        CLASS_NAME_MAX, CLASS_NAMES_MAX, Data, DataSource, Features, ImageEncoding, ImageFormat, ImageLayout,
        Shuffle, Validation,
    },
};

/// How the training data is read and split.
pub(super) fn selection(data: &Data, report: &mut Report) -> ResolvedSelection {
    let Features { image, label } = data.features.clone().unwrap_or_default();
    let Shuffle { block_records, window_records } = data.shuffle.clone().unwrap_or_default();
    let Validation { fraction, uri } =
        data.validation.clone().unwrap_or(Validation { fraction: Some(VALIDATION_FRACTION), uri: None });
    if fraction.is_some() == uri.is_some() {
        report.add("data.validation", "needs exactly one of fraction and uri");
    }
    if uri.is_some() {
        report.not_built(
            "data.validation.uri",
            "a validation set of its own",
            "use data.validation.fraction",
        );
    }
    let block_records =
        report.range("data.shuffle.blockRecords", block_records.unwrap_or(BLOCK_RECORDS), 1, 1_048_576);
    let window_records =
        report.range("data.shuffle.windowRecords", window_records.unwrap_or(WINDOW_RECORDS), 1, 16_777_216);
    if window_records < block_records {
        report.add(
            "data.shuffle.windowRecords",
            format!("{window_records} is less than blockRecords ({block_records}); raise it"),
        );
    }
    let mut name = |field: &str, name: Option<String>, default: &str| {
        let name = name.unwrap_or_else(|| default.to_owned());
        if name.is_empty() || name.len() > 256 {
            report.add(field, "must have 1 to 256 characters");
        }
        name
    };
    let image_feature = name("data.features.image", image, IMAGE_FEATURE);
    let label_feature = name("data.features.label", label, LABEL_FEATURE);
    if image_feature == label_feature {
        report.add("data.features", format!("image and label are both {image_feature:?}; they must differ"));
    }
    ResolvedSelection {
        image_feature,
        label_feature,
        validation_fraction: report.range("data.validation.fraction", fraction.unwrap_or(0.0), 0.0, 0.5),
        block_records,
        window_records,
    }
}

/// Where the data is, and what it holds.
pub(super) fn sources(data: &Data, report: &mut Report) -> ResolvedData {
    check_source("data.training.uri", &data.training.uri, data.format.is_some(), report);
    if let Some(DataSource { uri }) = &data.test {
        check_source("data.test.uri", uri, data.format.is_some(), report);
    }
    let cache_bytes = match &data.cache_size {
        None => CACHE_BYTES,
        Some(size) => match size.bytes() {
            Some(bytes @ CACHE_BYTES_MIN..) => bytes,
            Some(bytes) => {
                report.add("data.cacheSize", format!("{bytes} bytes is less than 1Mi; raise it"));
                bytes
            }
            None => {
                report.add(
                    "data.cacheSize",
                    format!("{size:?} is not a whole number of bytes such as 512Mi", size = size.0),
                );
                0
            }
        },
    };
    ResolvedData {
        training_uri: data.training.uri.clone(),
        test_uri: data.test.as_ref().map(|test| test.uri.clone()),
        cache_bytes,
        format: data.format.as_ref().map(|format| resolve_format(format, report)),
        layout_check: data.layout_check.unwrap_or_default(),
    }
}

fn check_source(field: &str, uri: &str, has_format: bool, report: &mut Report) {
    uri::check(field, uri, report);
    let Some((folder, name)) = uri.rsplit_once('/') else { return };
    if folder.contains('*') {
        report.add(field, "has a * in a folder's name; only the last part may be a pattern");
    } else if name.contains('*') && !has_format {
        report.add(field, "names shards by a pattern, which needs data.format; name their folder instead");
    }
}

fn resolve_format(format: &ImageFormat, report: &mut Report) -> ResolvedFormat {
    let ImageFormat { encoding, layout, height, width, channels, classes, class_names } = format;
    let is_encoded = *encoding != ImageEncoding::Raw;
    if is_encoded && layout.is_some() {
        report.add("data.format.layout", "can only be set for encoding Raw; remove it");
    }
    if is_encoded && !matches!(channels, 1 | 3) {
        report
            .add("data.format.channels", format!("{channels} is neither 1 nor 3, which encoded images have"));
    }
    ResolvedFormat {
        encoding: *encoding,
        layout: layout.unwrap_or(ImageLayout::HWC),
        height: report.range("data.format.height", *height, 1, 4096),
        width: report.range("data.format.width", *width, 1, 4096),
        channels: report.range("data.format.channels", *channels, 1, 16),
        classes: resolve_classes(*classes, class_names.as_deref(), report),
    }
}

fn resolve_classes(count: Option<u32>, names: Option<&[String]>, report: &mut Report) -> ResolvedClasses {
    if count.is_some() == names.is_some() {
        report.add("data.format", "needs exactly one of classes and classNames");
    }
    let Some(names) = names else {
        return ResolvedClasses::Count(report.range("data.format.classes", count.unwrap_or(2), 2, 65_536));
    };
    if !(2..=CLASS_NAMES_MAX as usize).contains(&names.len()) {
        report.add(
            "data.format.classNames",
            format!("must be 2 to {CLASS_NAMES_MAX}, are {}; use classes where there are more", names.len()),
        );
    }
    let mut seen = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        let field = || format!("data.format.classNames[{place}]");
        if name.is_empty() || name.len() > CLASS_NAME_MAX as usize || name.contains(char::is_control) {
            report.add(field(), format!("must have 1 to {CLASS_NAME_MAX} bytes without control characters"));
        }
        if !seen.insert(name) {
            report.add(field(), format!("{name:?} stands there twice"));
        }
    }
    ResolvedClasses::Names(names.to_vec())
}
