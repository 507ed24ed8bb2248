//! What a source looks like to the writer, and reading files of known size without trusting them.

use std::{io::Read, path::Path, sync::Arc};

use snafu::ResultExt;

use super::{Result, error::ReadSourceSnafu};
use crate::Shape;

/// Most classes of a source that does not name them.
pub(super) const MAX_CLASSES: u32 = 65_536;

/// A source, opened: everything known but its images.
pub(super) struct Source {
    /// As on the command line.
    pub(super) format: &'static str,
    /// Name of the file or folder.
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) classes: Vec<String>,
    pub(super) splits: Vec<(&'static str, Arc<dyn Images>)>,
}

/// The images of one split, in the order in which they become records.
pub(super) trait Images: Send + Sync {
    fn len(&self) -> usize;

    /// The classes of all images.
    fn labels(&self) -> Result<Vec<u32>>;

    /// Puts the pixels of one image (row by row, the channels of a pixel together) into `pixels`, whose length is the
    /// shape's, and returns its label.
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32>;
}

/// Images and labels in memory.
pub(super) struct InMemory {
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Vec<u8>,
}

impl Images for InMemory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self) -> Result<Vec<u32>> {
        Ok(self.labels.iter().map(|label| u32::from(*label)).collect())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        pixels.copy_from_slice(&self.pixels[index * pixels.len()..(index + 1) * pixels.len()]);
        Ok(u32::from(self.labels[index]))
    }
}

/// Reads to the end, but no more than one byte above `expected`. Memory grows with what arrives.
pub(super) fn read_at_most(input: impl Read, expected: u64, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    input.take(expected.saturating_add(1)).read_to_end(bytes)?;
    Ok(())
}

/// The names given, or the numbers up to the highest label.
pub(super) fn class_names(given: Option<&[String]>, highest: u32) -> Vec<String> {
    given.map_or_else(|| (0..=highest).map(|label| label.to_string()).collect(), <[String]>::to_vec)
}

/// Names of what is in a folder, sorted.
pub(super) fn file_names(path: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(path).context(ReadSourceSnafu { path })?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .context(ReadSourceSnafu { path })?;
    names.sort();
    Ok(names)
}

/// Name of a file or folder, without the folders above it.
pub(super) fn base_name(path: &Path) -> String {
    // A path such as `.` or `/` has no name of its own until it is resolved.
    let resolved = path.canonicalize();
    let name = resolved.as_deref().unwrap_or(path).file_name();
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
