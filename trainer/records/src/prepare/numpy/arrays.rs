//! The two arrays of a split: images, read from their places when they are asked for, and labels.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use snafu::{ResultExt, ensure};

use super::{
    super::{
        Result,
        error::{FileSizeSnafu, FormatSnafu, LabelSnafu, ReadSourceSnafu},
        npy::{self, Element, Header, Kind},
    },
    BatchLayout,
};
use crate::{Shape, pixels::planes::interleave};

fn refuse<T>(path: &Path, reason: impl Into<String>) -> Result<T> {
    FormatSnafu { file: path.display().to_string(), reason }.fail()
}

/// Opens an array whose file has as many bytes as its header says.
fn open_array(path: &Path) -> Result<(File, Header)> {
    let file = File::open(path).context(ReadSourceSnafu { path })?;
    let mut start = Vec::new();
    (&file).take(npy::MAX_HEADER_BYTES as u64).read_to_end(&mut start).context(ReadSourceSnafu { path })?;
    let header = npy::parse(&start).or_else(|reason| refuse(path, reason))?;
    let Header { element, fortran_order, dims, bytes } = &header;
    if *fortran_order && dims.len() > 1 {
        return refuse(path, "it is in Fortran order: save numpy.ascontiguousarray of it");
    }
    if element.kind == Kind::Other {
        return refuse(path, format!("its values are {:?}, not numbers", element.descr));
    }
    // One image or label, then all; an array of none may have any sizes behind the first.
    let one = dims.iter().skip(1).try_fold(element.bytes, |product, size| product.checked_mul(*size));
    let values = one.and_then(|one| one.checked_mul(dims.first().copied().unwrap_or(1)));
    let (Some(one), Some(expected)) = (one, values.and_then(|values| values.checked_add(*bytes))) else {
        return refuse(path, format!("its dimensions {dims:?} are too large"));
    };
    let found = file.metadata().context(ReadSourceSnafu { path })?.len();
    let offset = bytes + found.min(expected).saturating_sub(*bytes) / one.max(1) * one;
    let place = path.display().to_string();
    ensure!(found == expected, FileSizeSnafu { file: place, found, expected, offset });
    Ok((file, header))
}

/// An array of images that is read image by image.
pub(super) struct ImageArray {
    pub(super) path: PathBuf,
    file: File,
    /// Where the first image begins.
    start: u64,
    pub(super) count: u64,
    pub(super) shape: Shape,
    layout: BatchLayout,
}

impl ImageArray {
    pub(super) fn open(path: PathBuf, layout: Option<BatchLayout>) -> Result<Self> {
        let (file, Header { element, dims, bytes, .. }) = open_array(&path)?;
        if (element.kind, element.bytes) != (Kind::Unsigned, 1) {
            let descr = element.descr;
            let reason = match element.kind {
                Kind::Float => format!(
                    "its values are floating-point numbers ({descr}), not bytes: for values between 0 and 1 save \
                     (255 * x).round().astype(numpy.uint8)"
                ),
                _ => format!("its values are {descr}, not bytes: save x.astype(numpy.uint8)"),
            };
            return refuse(&path, reason);
        }
        let (layout, sizes) = match dims[..] {
            [_, height, width] => (BatchLayout::Nhwc, [height, width, 1]),
            [_, first, second, third] => match layout.or_else(|| only_layout(first, third)) {
                Some(BatchLayout::Nhwc) => (BatchLayout::Nhwc, [first, second, third]),
                Some(BatchLayout::Nchw) => (BatchLayout::Nchw, [second, third, first]),
                None => {
                    let reason =
                        format!("which of its dimensions {dims:?} are channels is not clear: say the layout");
                    return refuse(&path, reason);
                }
            },
            _ => return refuse(&path, format!("it has {} dimensions, images have 3 or 4", dims.len())),
        };
        let [Ok(height), Ok(width), Ok(channels)] = sizes.map(u32::try_from) else {
            return refuse(&path, format!("its dimensions {dims:?} are too large"));
        };
        let shape = Shape { height, width, channels };
        if sizes.contains(&0) {
            return refuse(&path, format!("its images are {shape}"));
        }
        Ok(Self { path, file, start: bytes, count: dims[0], shape, layout })
    }

    pub(super) fn read(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let offset = self.start + index as u64 * pixels.len() as u64;
        let read = |bytes: &mut [u8]| {
            self.file.read_exact_at(bytes, offset).context(ReadSourceSnafu { path: &self.path })
        };
        match self.layout {
            BatchLayout::Nhwc => read(pixels),
            BatchLayout::Nchw => {
                let mut planes = vec![0; pixels.len()];
                read(&mut planes)?;
                interleave(&planes, self.shape.channels as usize, pixels);
                Ok(())
            }
        }
    }
}

/// What the only dimension of 1 or 3 says, if one of the outer ones is it and the other is not.
fn only_layout(first: u64, third: u64) -> Option<BatchLayout> {
    match [first, third].map(|size| matches!(size, 1 | 3)) {
        [false, true] => Some(BatchLayout::Nhwc),
        [true, false] => Some(BatchLayout::Nchw),
        _ => None,
    }
}

/// All labels of a split, not yet known to be classes.
pub(super) struct LabelArray {
    path: PathBuf,
    start: u64,
    value_bytes: u64,
    /// What no `i64` holds is its largest.
    pub(super) values: Vec<i64>,
}

impl LabelArray {
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let (file, Header { element, dims, bytes, .. }) = open_array(&path)?;
        let Element { kind, bytes: value_bytes, big_endian, descr } = element;
        if !matches!(kind, Kind::Unsigned | Kind::Signed) || value_bytes > 8 {
            return refuse(
                &path,
                format!("its values are {descr}, not integers: save y.astype(numpy.int64)"),
            );
        }
        match dims[..] {
            [_] | [_, 1] => {}
            [_, columns] => {
                let reason = format!(
                    "it has {columns} columns, labels have one: of one-hot rows save y.argmax(axis=1)"
                );
                return refuse(&path, reason);
            }
            _ => return refuse(&path, format!("it has {} dimensions, labels have 1", dims.len())),
        }
        // As long as the file is, which it was found to be.
        let mut content = vec![0; (dims[0] * value_bytes) as usize];
        file.read_exact_at(&mut content, bytes).context(ReadSourceSnafu { path: &path })?;
        let values = content.chunks_exact(value_bytes as usize);
        let values = values.map(|value| integer(value, kind == Kind::Signed, big_endian)).collect();
        Ok(Self { path, start: bytes, value_bytes, values })
    }

    pub(super) fn file(&self) -> String {
        self.path.display().to_string()
    }

    /// The labels, each below `classes`.
    pub(super) fn of(self, classes: usize) -> Result<Vec<u32>> {
        let known = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
        if let Some(at) = self.values.iter().position(|label| !known(label)) {
            let offset = self.start + at as u64 * self.value_bytes;
            return LabelSnafu { file: self.file(), offset, label: self.values[at], classes }.fail();
        }
        Ok(self.values.into_iter().map(|label| label as u32).collect())
    }
}

/// One to eight bytes as a number; above `i64`'s range its largest.
pub(super) fn integer(bytes: &[u8], signed: bool, big_endian: bool) -> i64 {
    let place = |at: usize| if big_endian { bytes.len() - 1 - at } else { at };
    let negative = signed && bytes[place(bytes.len() - 1)] >= 0x80;
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    (0..bytes.len()).for_each(|at| wide[at] = bytes[place(at)]);
    if signed {
        i64::from_le_bytes(wide)
    } else {
        i64::try_from(u64::from_le_bytes(wide)).unwrap_or(i64::MAX)
    }
}
