//! The data sets of a job: opened, alike, and in the layout that is said.

use std::time::Instant;

use lockstep_crds::{
    resolved::{ResolvedClasses, ResolvedData, ResolvedFormat},
    spec::{ImageEncoding, ImageLayout, LayoutCheck},
};
use lockstep_records::{
    Classes, Dataset, Encoding, FeatureNames, Format, Layout, RecordReader, Shape,
    layout_check::{self, Verdict},
    pixels::ImageFormat,
    shard_files::folder_and_pattern,
};
use lockstep_storage::{Access, Store};
use snafu::{ResultExt, ensure};

use crate::failure::{CacheSizeSnafu, Failure, LayoutSnafu, OpenDataSnafu, OpenStoreSnafu, TestDataSnafu};

/// The training set, and the test set if there is one.
pub(crate) async fn open(
    access: &Access,
    data: &ResolvedData,
    features: &FeatureNames,
) -> Result<(Dataset, Option<Dataset>), Failure> {
    let ResolvedData { training_uri, test_uri, cache_bytes, format, layout_check } = data;
    let format = format.as_ref().map(known_format);
    let open = async |role: &'static str, uri: &str| {
        let set = open_set(access, role, uri, format.as_ref(), *cache_bytes).await?;
        ensure_fits(set.unpacked_bytes(), *cache_bytes)?;
        check_layout(role, &set, features, *layout_check).await?;
        Ok::<_, Failure>(set)
    };
    let training = open("training", training_uri).await?;
    let Some(test) = test_uri else { return Ok((training, None)) };
    let test = open("test", test).await?;
    let describe = |set: &Dataset| format!("{} classes and images of {}", set.classes().len(), set.shape());
    let same = test.classes() == training.classes() && test.shape() == training.shape();
    ensure!(same, TestDataSnafu { found: describe(&test), wanted: describe(&training) });
    ensure_fits(training.unpacked_bytes().saturating_add(test.unpacked_bytes()), *cache_bytes)?;
    Ok((training, Some(test)))
}

/// Compressed shards stay in memory.
fn ensure_fits(needed: u64, cache_bytes: u64) -> Result<(), Failure> {
    ensure!(needed <= cache_bytes, CacheSizeSnafu { needed, cache_bytes });
    Ok(())
}

async fn open_set(
    access: &Access,
    role: &'static str,
    uri: &str,
    format: Option<&Format>,
    cache_bytes: u64,
) -> Result<Dataset, Failure> {
    let (folder, pattern) = folder_and_pattern(uri);
    let store = Store::open_with(folder, access).context(OpenStoreSnafu { role })?;
    let Some(format) = format else { return Dataset::open(store).await.context(OpenDataSnafu { role }) };
    let start = Instant::now();
    let set = Dataset::open_as(store, pattern, format, cache_bytes).await.context(OpenDataSnafu { role })?;
    if set.is_scanned() {
        let seconds = start.elapsed().as_secs_f64();
        let shards = set.manifest().shards.len();
        tracing::info!(
            role,
            records = set.len(),
            shards,
            seconds,
            "read every shard to index it, as each executor does when it starts; `lockstep prepare tfrecords` writes a \
             dataset.json once for all"
        );
    }
    Ok(set)
}

async fn check_layout(
    role: &'static str,
    set: &Dataset,
    features: &FeatureNames,
    rule: LayoutCheck,
) -> Result<(), Failure> {
    let reader = RecordReader::new(set.clone(), features.clone(), set.unpacked_bytes());
    let Some(finding) = reader.check_layout().await.context(OpenDataSnafu { role })? else { return Ok(()) };
    match (finding.verdict, rule) {
        (Verdict::Contradicts, LayoutCheck::Refuse) => {
            let remedy = match set.is_scanned() {
                true => "set data.format.layout: ",
                false => "write the data set anew as ",
            };
            let remedy = format!("{remedy}{}", layout_check::other(finding.declared));
            LayoutSnafu { role, finding, remedy }.fail()
        }
        (Verdict::Contradicts, LayoutCheck::Warn) => {
            tracing::warn!(role, declared = %finding.declared, "the images look like the other layout: {finding}");
            Ok(())
        }
        (Verdict::Agrees | Verdict::Undecided, _) => {
            tracing::debug!(role, verdict = ?finding.verdict, "layout: {finding}");
            Ok(())
        }
    }
}

fn known_format(format: &ResolvedFormat) -> Format {
    let ResolvedFormat { encoding, layout, height, width, channels, classes } = format;
    let encoding = match encoding {
        ImageEncoding::Raw => Encoding::Raw,
        ImageEncoding::Png => Encoding::Png,
        ImageEncoding::Jpeg => Encoding::Jpeg,
    };
    let layout = match layout {
        ImageLayout::HWC => Layout::Hwc,
        ImageLayout::CHW => Layout::Chw,
    };
    let shape = Shape { height: *height, width: *width, channels: *channels };
    let classes = match classes {
        ResolvedClasses::Count(count) => Classes::Count(*count as usize),
        ResolvedClasses::Names(names) => Classes::Names(names.clone()),
    };
    Format { images: ImageFormat { encoding, layout, shape }, classes }
}
