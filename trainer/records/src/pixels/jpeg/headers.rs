//! Headers of a JPEG (ITU-T T.81, B.2) up to its first scan: whether it is one that the decoder gets right.
//!
//! Of what the standard allows, zune-jpeg 0.5.15 decodes some without an error into other pixels: baseline images with each
//! colour in a scan of its own (etemesi254/zune-image, issues 422 and 448). On colours that are finer than brightness it panics.

use snafu::{OptionExt as _, ensure};

use crate::pixels::{Error, UnusualSnafu};

/// Of a component: its name, its samples across (high four bits) and down in a minimum coded unit, its quantisation table.
type Component = [u8; 3];

const START_OF_SCAN: u8 = 0xda;
/// Baseline, extended and progressive, all by Huffman's code.
const START_OF_FRAME: std::ops::RangeInclusive<u8> = 0xc0..=0xc2;
const PROGRESSIVE: u8 = 0xc2;
/// Precision, lines, samples a line and the number of components.
const BEFORE_COMPONENTS: usize = 6;
/// Samples of brightness across and down for each of both colours': 4:4:4, 4:4:0, 4:2:2, 4:2:0 and 4:1:1.
const SAMPLINGS: [u8; 5] = [0x11, 0x12, 0x21, 0x22, 0x41];
const COLOUR: u8 = 0x11;

/// What stands before the first scan's data.
struct Headers<'a> {
    components: &'a [Component],
    is_progressive: bool,
    /// Components in the first scan.
    in_scan: usize,
}

/// An error unless encoders in use write such an image.
pub(super) fn check(image: &[u8]) -> Result<(), Error> {
    let headers =
        Headers::read(image).context(UnusualSnafu { what: "its headers contradict one another" })?;
    let is_sampled_as_usual = match headers.components {
        [_] => true,
        [brightness, colours @ ..] => {
            SAMPLINGS.contains(&brightness[1]) && colours.iter().all(|colour| colour[1] == COLOUR)
        }
        [] => false,
    };
    let what = "its colours are sampled otherwise than in 4:4:4, 4:4:0, 4:2:2, 4:2:0 and 4:1:1";
    ensure!(is_sampled_as_usual, UnusualSnafu { what });
    let is_complete = headers.in_scan == headers.components.len();
    let what = "each of its colours is in a scan of its own";
    ensure!(headers.is_progressive || is_complete, UnusualSnafu { what });
    Ok(())
}

impl<'a> Headers<'a> {
    /// Segments are looked for as the decoder does, which forgives bytes between them.
    fn read(image: &'a [u8]) -> Option<Self> {
        let mut rest = image.get(2..)?;
        let mut frame: Option<(u8, &[Component])> = None;
        loop {
            rest = &rest[rest.iter().position(|byte| *byte == 0xff)?..];
            // A marker may have fill bytes before it.
            let marker = rest.iter().position(|byte| *byte != 0xff)?;
            let segment = &rest[marker + 1..];
            let length = usize::from(u16::from_be_bytes(*segment.first_chunk()?));
            let content = segment.get(2..length)?;
            match rest[marker] {
                START_OF_SCAN => {
                    let (kind, components) = frame?;
                    let in_scan = usize::from(*content.first()?);
                    return Some(Self { components, is_progressive: kind == PROGRESSIVE, in_scan });
                }
                kind if START_OF_FRAME.contains(&kind) => {
                    let components = content.get(BEFORE_COMPONENTS..)?.as_chunks().0;
                    if frame.replace((kind, components)).is_some() {
                        return None;
                    }
                }
                _ => {}
            }
            rest = &segment[length..];
        }
    }
}
