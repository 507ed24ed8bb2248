//! The wire format: one [`Message`] is one binary WebSocket frame of at most [`MAX_FRAME`] bytes, little-endian.
//!
//! ```text
//! 0   u8   version          1   u8  kind, and 0x80 where a checksum is used    2  u16  integers
//! 4   u32  crc32c of all other bytes (0 without a checksum)
//! control:  8   JSON
//! chunks:   8   u64 ballot number or stream   16  u64 ballot proposer or total   24  u64 round   32  u64 start
//!           40  u32 node start  44  u32 node leaves   48  u64 pace or head   56  integers (u64), then floats (f32) or bytes
//! ```
//! Plain connections use checksums, TLS ones need none. Decoding never allocates more than the frame holds.

use std::sync::Arc;

use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::core::{Ballot, Chunk, Fragment, Lesson, Message, Pool, SnapshotPart, Values};
use crate::tree::Node;

/// Most bytes of one frame.
pub const MAX_FRAME: usize = 1 << 20;
/// Most integers that may travel beside a vector.
pub const MAX_COUNTS: usize = 64;
/// Most floats of one chunk: small enough to stay in a CPU's second-level cache from the socket to the sum, large enough for
/// the work of a message to be little beside that of its bytes.
pub const MAX_CHUNK_FLOATS: usize = 32 * 1024;
/// Most bytes of one part of a snapshot.
pub const MAX_PART_BYTES: usize = 512 * 1024;

const VERSION: u8 = 2;
const PREFIX: usize = 8;
const HEADER: usize = 56;
const CHECKSUM: u8 = 0x80;
const CONTROL: u8 = 0;
const SUM: u8 = 1;
const FINISHED: u8 = 2;
const LESSON: u8 = 3;
const SNAPSHOT: u8 = 4;

/// Why bytes are no message, or a message fits no frame.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame ends early.
    #[snafu(display("failed to read a frame of {len} bytes: it is cut short"))]
    Short {
        /// Bytes of the frame.
        len: usize,
    },
    /// The frame is too long.
    #[snafu(display("failed to take a frame of {len} bytes: more than {MAX_FRAME}"))]
    Long {
        /// Bytes of the frame.
        len: usize,
    },
    /// Another version of the format.
    #[snafu(display("failed to read a frame of format version {version}: this is version {VERSION}"))]
    Version {
        /// Its version.
        version: u8,
    },
    /// No such kind, or a checksum where there should be none, or none where there should be one.
    #[snafu(display("failed to read a frame of kind {kind:#04x}"))]
    Kind {
        /// Its kind byte.
        kind: u8,
    },
    /// Bytes changed on the way.
    #[snafu(display(
        "failed to check a frame: its checksum is {found:#010x}, its bytes give {computed:#010x}"
    ))]
    Checksum {
        /// What the frame says.
        found: u32,
        /// What its bytes say.
        computed: u32,
    },
    /// More integers than a vector may have beside it.
    #[snafu(display("failed to read a frame with {counts} integers: more than {MAX_COUNTS}"))]
    Counts {
        /// Integers.
        counts: usize,
    },
    /// The floats do not fill whole words.
    #[snafu(display("failed to read {len} bytes of floats: no multiple of 4"))]
    Floats {
        /// Bytes.
        len: usize,
    },
    /// A control message that is not what JSON should be here.
    #[snafu(display("failed to read a control message"))]
    Parse {
        /// Where and why.
        source: serde_json::Error,
    },
    /// A control message that cannot be written.
    #[snafu(display("failed to write a control message"))]
    Write {
        /// Where and why.
        source: serde_json::Error,
    },
}

impl FrameError {
    /// Whether the same frame could be read another time: never; the connection is closed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Short { .. }
            | Self::Long { .. }
            | Self::Version { .. }
            | Self::Kind { .. }
            | Self::Checksum { .. }
            | Self::Counts { .. }
            | Self::Floats { .. }
            | Self::Parse { .. }
            | Self::Write { .. } => false,
        }
    }
}

/// Encodes and decodes the frames of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Codec {
    /// Whether frames carry a crc32c: yes where there is no TLS.
    pub checksum: bool,
}

/// A message of which the frame's length is known, to be written where there is room for it.
#[derive(Debug)]
pub struct Outline<'a> {
    kind: u8,
    /// Of a chunk.
    words: Option<[u64; 6]>,
    counts: &'a [u64],
    body: Body<'a>,
    checksum: bool,
}

#[derive(Debug)]
enum Body<'a> {
    Json(Vec<u8>),
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
}

impl Codec {
    /// What the frame of a message will be.
    ///
    /// # Errors
    /// [`FrameError::Long`] when the message does not fit, [`FrameError::Counts`] for too many integers.
    pub fn outline(self, message: &Message) -> Result<Outline<'_>, FrameError> {
        let (kind, words, counts, body) = match message {
            Message::Control(control) => {
                (CONTROL, None, &[][..], Body::Json(serde_json::to_vec(control).context(WriteSnafu)?))
            }
            Message::Sum(chunk) => (SUM, Some(words(chunk)), &chunk.counts[..], Body::Floats(&chunk.values)),
            Message::Finished(chunk) => {
                (FINISHED, Some(words(chunk)), &chunk.counts[..], Body::Floats(&chunk.values))
            }
            Message::Lesson(Lesson { stream, round, start, total, head, counts, values }) => {
                let words = [*stream, *total, *round, *start, 0, *head];
                (LESSON, Some(words), &counts[..], Body::Floats(values))
            }
            Message::Snapshot(SnapshotPart { stream, round, start, total, head, bytes }) => {
                let words = [*stream, *total, *round, *start, 0, *head];
                (SNAPSHOT, Some(words), &[][..], Body::Bytes(bytes))
            }
        };
        ensure!(counts.len() <= MAX_COUNTS, CountsSnafu { counts: counts.len() });
        let outline = Outline { kind, words, counts, body, checksum: self.checksum };
        ensure!(outline.len() <= MAX_FRAME, LongSnafu { len: outline.len() });
        Ok(outline)
    }

    /// The message in a frame; its floats in memory of `pool`.
    ///
    /// # Errors
    /// [`FrameError`]: whatever the bytes are, they are either a whole message or an error.
    pub fn decode(self, frame: &[u8], pool: &Pool) -> Result<Message, FrameError> {
        ensure!(frame.len() <= MAX_FRAME, LongSnafu { len: frame.len() });
        let (prefix, rest) = frame.split_at_checked(PREFIX).context(ShortSnafu { len: frame.len() })?;
        ensure!(prefix[0] == VERSION, VersionSnafu { version: prefix[0] });
        ensure!((prefix[1] & CHECKSUM != 0) == self.checksum, KindSnafu { kind: prefix[1] });
        let found = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
        let computed = if self.checksum { checksum(frame) } else { 0 };
        ensure!(found == computed, ChecksumSnafu { found, computed });
        let kind = prefix[1] & !CHECKSUM;
        let counts = usize::from(u16::from_le_bytes([prefix[2], prefix[3]]));
        ensure!(counts <= MAX_COUNTS, CountsSnafu { counts });
        if kind == CONTROL {
            ensure!(counts == 0, CountsSnafu { counts });
            return Ok(Message::Control(serde_json::from_slice(rest).context(ParseSnafu)?));
        }
        let (words, rest) =
            rest.split_at_checked(HEADER - PREFIX).context(ShortSnafu { len: frame.len() })?;
        let word = |at: usize| words[8 * at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let (first, second, round, start, node, last) =
            (word(0), word(1), word(2), word(3), word(4), word(5));
        let (integers, body) = rest.split_at_checked(8 * counts).context(ShortSnafu { len: frame.len() })?;
        let integers = || integers.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        match kind {
            SUM | FINISHED => {
                let chunk = Chunk {
                    ballot: Ballot { number: first, proposer: second },
                    round,
                    node: Node { start: node as u32, len: (node >> 32) as u32 },
                    start,
                    pace: last,
                    counts: integers(),
                    values: floats(body, pool)?,
                };
                Ok(if kind == SUM { Message::Sum(chunk) } else { Message::Finished(chunk) })
            }
            LESSON => Ok(Message::Lesson(Lesson {
                stream: first,
                round,
                start,
                total: second,
                head: last,
                counts: integers(),
                values: floats(body, pool)?,
            })),
            SNAPSHOT => {
                ensure!(counts == 0, CountsSnafu { counts });
                let bytes = Fragment::new(Arc::new(body.to_vec()), 0..body.len());
                Ok(Message::Snapshot(SnapshotPart {
                    stream: first,
                    round,
                    start,
                    total: second,
                    head: last,
                    bytes,
                }))
            }
            _ => KindSnafu { kind: prefix[1] }.fail(),
        }
    }
}

#[allow(clippy::len_without_is_empty, reason = "a frame has a prefix at least")]
impl Outline<'_> {
    /// Bytes of the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        let header = if self.words.is_some() { HEADER } else { PREFIX };
        let body = match &self.body {
            Body::Json(json) => json.len(),
            Body::Bytes(bytes) => bytes.len(),
            Body::Floats(floats) => 4 * floats.len(),
        };
        header + 8 * self.counts.len() + body
    }

    /// Writes the frame over `frame`, which has its length.
    pub fn write(&self, frame: &mut [u8]) {
        let checksum_flag = if self.checksum { CHECKSUM } else { 0 };
        let (prefix, mut rest) = frame.split_at_mut(PREFIX);
        prefix.copy_from_slice(&[VERSION, self.kind | checksum_flag, self.counts.len() as u8, 0, 0, 0, 0, 0]);
        for word in self.words.iter().flatten().chain(self.counts) {
            let (place, next) = rest.split_at_mut(8);
            place.copy_from_slice(&word.to_le_bytes());
            rest = next;
        }
        match &self.body {
            Body::Json(json) => rest.copy_from_slice(json),
            Body::Bytes(bytes) => rest.copy_from_slice(bytes),
            Body::Floats(floats) => {
                for (place, float) in rest.as_chunks_mut().0.iter_mut().zip(*floats) {
                    *place = float.to_le_bytes();
                }
            }
        }
        if self.checksum {
            let crc = checksum(frame);
            frame[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// Over every byte but the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[PREFIX..])
}

fn words(chunk: &Chunk) -> [u64; 6] {
    let Chunk { ballot, round, node, start, pace, counts: _, values: _ } = chunk;
    let node = u64::from(node.start) | u64::from(node.len) << 32;
    [ballot.number, ballot.proposer, *round, *start, node, *pace]
}

fn floats(bytes: &[u8], pool: &Pool) -> Result<Values, FrameError> {
    let (words, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), FloatsSnafu { len: bytes.len() });
    Ok(pool.collect(words.iter().map(|word| f32::from_le_bytes(*word))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use crate::core::{Control, Hello, Member, Status, ViewNote};
    use proptest::prelude::*;

    impl Codec {
        fn encode(self, message: &Message) -> Result<Vec<u8>, FrameError> {
            let outline = self.outline(message)?;
            let mut frame = vec![0xaa; outline.len()];
            outline.write(&mut frame);
            Ok(frame)
        }

        fn read(self, frame: &[u8]) -> Result<Message, FrameError> {
            self.decode(frame, &Pool::default())
        }
    }

    fn ballot() -> impl Strategy<Value = Ballot> {
        any::<(u64, u64)>().prop_map(|(number, proposer)| Ballot { number, proposer })
    }

    fn member() -> impl Strategy<Value = Member> {
        any::<(u32, u64)>().prop_map(|(index, incarnation)| Member { index, incarnation })
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        prop::collection::vec(member(), 0..5)
    }

    /// Bits, so that NaNs of every kind are among them.
    fn values() -> impl Strategy<Value = Values> {
        prop::collection::vec(any::<u32>(), 0..40).prop_map(|bits| {
            let data: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let end = data.len();
            Values::new(Arc::new(data), end / 3..end)
        })
    }

    fn chunk() -> impl Strategy<Value = Chunk> {
        let counts = prop::collection::vec(any::<u64>(), 0..4);
        (ballot(), any::<(u64, u32, u32, u64, u64)>(), counts, values()).prop_map(
            |(ballot, (round, from, len, start, pace), counts, values)| Chunk {
                ballot,
                round,
                node: Node { start: from, len },
                start,
                pace,
                counts,
                values,
            },
        )
    }

    fn control() -> impl Strategy<Value = Control> {
        let hello = (any::<(u32, String, Hash, Hash)>(), member()).prop_map(
            |((version, job_uid, result_hash, fingerprint), member)| {
                Control::Hello(Hello { version, job_uid, member, result_hash, fingerprint })
            },
        );
        let view = prop::option::of(
            (ballot(), any::<Vec<u32>>()).prop_map(|(ballot, members)| ViewNote { ballot, members }),
        );
        let status = (any::<(Option<u64>, u64, bool, bool, bool, u64)>(), view, members()).prop_map(
            |((round, saved, leaving, eligible, started, highest), view, connected)| {
                let connected = connected.into_iter().collect();
                Control::Status(Status { round, saved, view, connected, leaving, eligible, started, highest })
            },
        );
        let commit = (ballot(), members(), any::<(u64, Hash, Vec<u64>)>()).prop_map(
            |(ballot, members, (round, hash, paces))| Control::Commit { ballot, members, round, hash, paces },
        );
        prop_oneof![
            hello,
            status,
            commit,
            (ballot(), members(), any::<u64>()).prop_map(|(ballot, candidates, at)| Control::Propose {
                ballot,
                candidates,
                at
            }),
            (ballot(), any::<(u64, Hash)>()).prop_map(|(ballot, (round, hash))| Control::Ack {
                ballot,
                round,
                hash
            }),
            (ballot(), ballot()).prop_map(|(ballot, promised)| Control::Nack { ballot, promised }),
            ballot().prop_map(|ballot| Control::Decline { ballot }),
            (ballot(), any::<u64>()).prop_map(|(ballot, round)| Control::Abandon { ballot, round }),
            any::<(u64, u64)>().prop_map(|(stream, from)| Control::Learn { stream, from }),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        let lesson =
            (any::<(u64, u64, u64, u64, u64)>(), prop::collection::vec(any::<u64>(), 0..4), values())
                .prop_map(|((stream, round, start, total, head), counts, values)| {
                    Message::Lesson(Lesson { stream, round, start, total, head, counts, values })
                });
        let snapshot = (any::<(u64, u64, u64, u64, u64)>(), prop::collection::vec(any::<u8>(), 0..50))
            .prop_map(|((stream, round, start, total, head), bytes)| {
                let bytes = Fragment::new(Arc::new(bytes), 0..50);
                Message::Snapshot(SnapshotPart { stream, round, start, total, head, bytes })
            });
        prop_oneof![
            control().prop_map(Message::Control),
            chunk().prop_map(Message::Sum),
            chunk().prop_map(Message::Finished),
            lesson,
            snapshot,
        ]
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(message in message(), checksum: bool) {
            let codec = Codec { checksum };
            prop_assert_eq!(codec.read(&codec.encode(&message).unwrap()).unwrap(), message);
        }

        #[test]
        fn a_frame_cut_at_any_byte_is_an_error_where_there_is_a_checksum(message in message()) {
            let codec = Codec { checksum: true };
            let frame = codec.encode(&message).unwrap();
            for end in 0..frame.len() {
                prop_assert!(codec.read(&frame[..end]).is_err(), "cut at {end} of {}", frame.len());
            }
        }

        #[test]
        fn a_flipped_bit_is_an_error_where_there_is_a_checksum(message in message(), bit: usize) {
            let codec = Codec { checksum: true };
            let mut frame = codec.encode(&message).unwrap();
            let bit = bit % (8 * frame.len());
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(codec.read(&frame).is_err());
        }

        /// Without a checksum changed bytes may mean another message, but never a panic.
        #[test]
        fn damaged_frames_never_panic(message in message(), cut: usize, flips in prop::collection::vec(any::<usize>(), 0..8)) {
            let codec = Codec { checksum: false };
            let mut frame = codec.encode(&message).unwrap();
            for flip in flips {
                let bit = flip % (8 * frame.len());
                frame[bit / 8] ^= 1 << (bit % 8);
            }
            frame.truncate(frame.len() - cut % frame.len() / 2);
            drop(codec.read(&frame));
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..6, checksum: bool) {
            drop(Codec { checksum }.read(&bytes));
            if bytes.len() > PREFIX {
                bytes[..PREFIX].copy_from_slice(&[VERSION, kind, 0, 0, 0, 0, 0, 0]);
                drop(Codec { checksum: false }.read(&bytes));
            }
        }
    }

    #[test]
    fn the_largest_chunk_fits_a_frame_and_larger_ones_are_refused() {
        let chunk = |floats| {
            Message::Sum(Chunk {
                ballot: Ballot { number: 1, proposer: 2 },
                round: 3,
                node: Node { start: 0, len: 4 },
                start: 0,
                pace: 0,
                counts: vec![7; MAX_COUNTS],
                values: vec![1.5; floats].into(),
            })
        };
        let codec = Codec { checksum: true };
        let frame = codec.encode(&chunk(MAX_CHUNK_FLOATS)).unwrap();
        assert_eq!(codec.read(&frame).unwrap(), chunk(MAX_CHUNK_FLOATS));
        assert!(matches!(codec.encode(&chunk(MAX_FRAME / 4)), Err(FrameError::Long { .. })));
        assert!(matches!(codec.read(&vec![1; MAX_FRAME + 1]), Err(FrameError::Long { .. })));
    }

    #[test]
    fn a_plain_frame_on_a_checked_connection_is_refused() {
        let message = Message::from(Control::Decline { ballot: Ballot { number: 1, proposer: 2 } });
        let frame = Codec { checksum: false }.encode(&message).unwrap();
        assert!(matches!(Codec { checksum: true }.read(&frame), Err(FrameError::Kind { .. })));
    }
}
