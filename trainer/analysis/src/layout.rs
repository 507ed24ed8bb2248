//! Whether raw images stand in the layout that the data set says: a look at some of them as they are stored.

use std::sync::Arc;

use futures::TryStreamExt;
use lockstep_records::{LayoutCheck, LayoutFinding, manifest::Encoding};

use crate::{Result, again, fingerprint::Fingerprint, repeats::Place, split::Split, tally::Tally};

/// Images that are looked at: those of least digest, which are as good as random.
const IMAGES: usize = 256;

/// What the images of each split say; `None` of encoded ones, and where there is no telling which to look at.
///
/// The tallies' fingerprints are sorted.
pub(crate) async fn findings(splits: &Arc<[Split]>, tallies: &[Tally]) -> Result<Vec<Option<LayoutFinding>>> {
    let mut findings = Vec::new();
    for (number, tally) in tallies.iter().enumerate() {
        findings.push(finding(splits, number, tally).await?);
    }
    Ok(findings)
}

async fn finding(splits: &Arc<[Split]>, number: usize, tally: &Tally) -> Result<Option<LayoutFinding>> {
    let format = &splits[number].format;
    let Some(shape) = format.shape.filter(|_| !tally.fingerprints.is_empty()) else { return Ok(None) };
    let place = |fingerprint: &Fingerprint| Place {
        split: number,
        shard: fingerprint.shard,
        offset: fingerprint.offset,
        label: fingerprint.label,
    };
    let places = tally.fingerprints.iter().take(IMAGES).map(place);
    let mut check = LayoutCheck::new(shape);
    let mut raw = 0;
    let mut records = std::pin::pin!(again::read(splits, places));
    while let Some((_, features)) = records.try_next().await? {
        if features.encoding(format) == Some(Encoding::Raw) {
            check.add(features.stored());
            raw += 1;
        }
    }
    Ok((raw > 0).then(|| check.finding(format.layout)))
}
