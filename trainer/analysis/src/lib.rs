//! Exploratory analysis of image data sets: what `lockstep analyze` finds, and the reports that show it.
//!
//! The flow: [`Split::open`] finds the shards; `plan` cuts the work into pieces; `work` scans these, record by record
//! (`record`), into a [`tally::Tally`] a split; parts hand theirs over as files (`partial`); `repeats` compares all images;
//! [`report`] draws up the figures and the verdict; [`page`] and [`summary`] write them, with the pictures of [`pictures`].
//!
//! Everything that is added up is an integer, all lists are sorted by place, and figures are computed once, at the end: the
//! report is the same, byte for byte, for any number of threads and parts.
//!
//! Neighbours: `lockstep-records` reads records and images, `lockstep-storage` holds the bytes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::sync::Arc;

use lockstep_records::LayoutFinding;
use lockstep_storage::Store;

mod again;
mod content;
mod error;
pub mod finding;
pub mod fingerprint;
mod histogram;
mod layout;
mod levels;
pub mod page;
mod partial;
pub mod pictures;
mod plan;
mod record;
pub mod repeats;
pub mod report;
mod split;
pub mod summary;
pub mod tally;
mod work;

pub use error::Error;
pub use histogram::Histogram;
pub use pictures::Gallery;
pub use plan::Part;
pub use report::Report;
pub use split::{Format, MAX_CLASSES, Shard, Split};
pub use work::{Options, ProgressCallback};

use tally::Tally;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Splits that are analysed together.
#[derive(Clone, Debug)]
pub struct Analysis {
    splits: Arc<[Split]>,
    skip_duplicates: bool,
}

/// All counts, and the images that occur more than once.
#[derive(Debug)]
pub struct Outcome {
    splits: Arc<[Split]>,
    tallies: Vec<Tally>,
    repeats: repeats::Repeats,
    layouts: Vec<Option<LayoutFinding>>,
    compared: bool,
}

impl Analysis {
    /// `skip_duplicates`: leaves out all that compares images, which takes [`fingerprint::BYTES`] an image.
    pub fn new(splits: Vec<Split>, skip_duplicates: bool) -> Self {
        Self { splits: splits.into(), skip_duplicates }
    }

    /// Bytes that a part reads.
    pub fn bytes(&self, part: Part) -> u64 {
        part.share(plan::pieces(&self.splits)).iter().map(|piece| piece.bytes(&self.splits)).sum()
    }

    /// Analyses everything here.
    pub async fn run(&self, options: &Options) -> Result<Outcome> {
        self.outcome(self.tallies(Part::WHOLE, options).await?).await
    }

    /// Analyses one part's share, and leaves what it found in `partials`.
    pub async fn run_part(&self, part: Part, partials: &Store, options: &Options) -> Result<()> {
        let tallies = self.tallies(part, options).await?;
        partial::write(partials, part, &self.data_digest(), &tallies).await
    }

    /// Brings together what `parts` parts left in `partials`.
    ///
    /// # Errors
    /// [`Error::MissingPartials`] names those that have not finished.
    pub async fn merge(&self, parts: u32, partials: &Store) -> Result<Outcome> {
        let tallies = partial::merge(partials, parts, &self.data_digest(), self.splits.len()).await?;
        self.outcome(tallies).await
    }

    fn data_digest(&self) -> String {
        partial::data_digest(&self.splits, self.skip_duplicates)
    }

    async fn tallies(&self, part: Part, options: &Options) -> Result<Vec<Tally>> {
        let pieces = part.share(plan::pieces(&self.splits));
        work::tally(&self.splits, pieces, !self.skip_duplicates, options).await
    }

    async fn outcome(&self, mut tallies: Vec<Tally>) -> Result<Outcome> {
        let repeats = repeats::find(&mut tallies);
        let layouts = layout::findings(&self.splits, &tallies).await?;
        let splits = Arc::clone(&self.splits);
        Ok(Outcome { splits, tallies, repeats, layouts, compared: !self.skip_duplicates })
    }
}

impl Outcome {
    /// The figures and the verdict.
    pub fn report(&self) -> Report {
        report::of(self)
    }

    /// Reads the images that the page shows: `samples` of each class and split, and one of each group of `report`.
    pub async fn gallery(&self, report: &Report, samples: usize) -> Result<Gallery> {
        pictures::gallery(&self.splits, &self.tallies, report, samples).await
    }
}
