//! WebSocket frames (RFC 6455, section 5) once both ends have shaken hands.
//!
//! A message is one frame here: a peer that sends fragments, text, extensions' bits, or more than [`MAX_FRAME`] bytes breaks a
//! rule of the subprotocol. Frames are written and read in buffers that stay, so that a chunk's bytes are touched while they
//! are in a cache.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use snafu::{ResultExt, Snafu, ensure};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frame::MAX_FRAME;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Most bytes of a frame that is no message.
const MAX_CONTROL: usize = 125;
/// Most bytes before a payload.
const MAX_HEADER: usize = 14;
/// What is read at once beyond a frame that is not whole yet: the next one's header, without much of its payload that would
/// have to be moved.
const AHEAD: usize = 4 << 10;
/// First size of a read buffer.
const SMALL: usize = 16 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const ALL: [(u8, Self); 6] = [
        (0, Self::Continuation),
        (1, Self::Text),
        (2, Self::Binary),
        (8, Self::Close),
        (9, Self::Ping),
        (10, Self::Pong),
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(number, _)| *number == byte & OPCODE).map(|(_, opcode)| *opcode)
    }

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, opcode)| *opcode == self).map_or(0, |(number, _)| *number)
    }

    fn is_control(self) -> bool {
        self.number() >= Self::Close.number()
    }
}

/// Why what a peer sends is no WebSocket frame, or not one of ours.
#[derive(Debug, Snafu, PartialEq, Eq)]
#[snafu(visibility(pub(super)))]
#[non_exhaustive]
pub enum WebSocketError {
    /// An extension's bits, or an opcode that does not exist.
    #[snafu(display("failed to read a WebSocket frame: its first byte is {byte:#04x}"))]
    Kind {
        /// The first byte.
        byte: u8,
    },
    /// A message in several frames.
    #[snafu(display("failed to read a WebSocket frame: it is a fragment"))]
    Fragment,
    /// Text, which the protocol does not use.
    #[snafu(display("failed to read a WebSocket frame: it is text"))]
    Text,
    /// Masked by a server, or not masked by a client.
    #[snafu(display("failed to read a WebSocket frame: masked is {masked}, which its sender may not do"))]
    Mask {
        /// Whether it is masked.
        masked: bool,
    },
    /// More bytes than a frame may have.
    #[snafu(display("failed to read a WebSocket frame of {len} bytes: more than {most}"))]
    Long {
        /// Bytes of its payload.
        len: u64,
        /// The most allowed.
        most: usize,
    },
    /// A length in more bytes than needed.
    #[snafu(display("failed to read a WebSocket frame: its length {len} is not in the shortest form"))]
    Length {
        /// Bytes of its payload.
        len: u64,
    },
    /// A close frame without a whole code, or whose reason is not UTF-8.
    #[snafu(display("failed to read a WebSocket frame: it closes without a code and a reason"))]
    Close,
    /// The stream ended within a frame.
    #[snafu(display("failed to read a WebSocket frame: the stream ended after {have} bytes of it"))]
    Cut {
        /// Bytes that came.
        have: usize,
    },
}

/// A frame's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    header: usize,
    /// Bytes of the payload.
    payload: usize,
}

impl Header {
    /// `None`: more bytes are needed. `masked`: what the sender has to do.
    fn parse(bytes: &[u8], masked: bool) -> Result<Option<Self>, WebSocketError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (byte, is_masked) = (*first, second & MASKED != 0);
        let opcode = Opcode::of(byte).filter(|_| byte & RESERVED == 0);
        let Some(opcode) = opcode else { return KindSnafu { byte }.fail() };
        ensure!(byte & FINAL != 0 && opcode != Opcode::Continuation, FragmentSnafu);
        ensure!(is_masked == masked, MaskSnafu { masked: is_masked });
        let (len, rest, shortest) = match second & !MASKED {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 126),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest, 1 << 16),
                None => return Ok(None),
            },
            len => (u64::from(len), rest, 0),
        };
        ensure!(len >= shortest, LengthSnafu { len });
        let most = if opcode.is_control() { MAX_CONTROL } else { MAX_FRAME };
        let payload = usize::try_from(len).ok().filter(|len| *len <= most);
        let Some(payload) = payload else { return LongSnafu { len, most }.fail() };
        let header = bytes.len() - rest.len();
        if !masked {
            return Ok(Some(Self { opcode, mask: None, header, payload }));
        }
        let mask = rest.first_chunk().copied();
        Ok(mask.map(|mask| Self { opcode, mask: Some(mask), header: header + 4, payload }))
    }

    /// Writes it to the end of `place`, which has its length.
    fn write(self, place: &mut [u8]) {
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        let (length, payload) = (place.len() - self.mask.map_or(0, |mask| mask.len()), self.payload as u64);
        place[0] = FINAL | self.opcode.number();
        place[1] = masked
            | match length {
                2 => payload as u8,
                4 => 126,
                _ => 127,
            };
        let bytes = payload.to_be_bytes();
        place[2..length].copy_from_slice(&bytes[bytes.len() - (length - 2)..]);
        if let Some(mask) = self.mask {
            place[length..].copy_from_slice(&mask);
        }
    }

    fn len(payload: usize, masked: bool) -> usize {
        let length = match payload {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        length + if masked { 4 } else { 0 }
    }
}

/// XORs the key over the bytes, from the key's first byte on.
fn apply_mask(bytes: &mut [u8], key: [u8; 4]) {
    let (words, rest) = bytes.as_chunks_mut();
    let number = u32::from_ne_bytes(key);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ number).to_ne_bytes();
    }
    rest.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

/// Frames that wait to be sent, in one buffer.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Keys: an end that dialled masks what it sends.
    keys: Option<ChaCha8Rng>,
    bytes: Vec<u8>,
    filled: usize,
}

impl Outbox {
    /// `keys`: for the end that dialled, unpredictable.
    pub(super) fn new(keys: Option<ChaCha8Rng>) -> Self {
        Self { keys, bytes: Vec::new(), filled: 0 }
    }

    /// Appends a frame whose `len` bytes `fill` writes, whatever it finds there.
    pub(super) fn push(&mut self, opcode: Opcode, len: usize, fill: impl FnOnce(&mut [u8])) {
        let header = Header::len(len, self.keys.is_some());
        let end = self.filled + header + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let mask = self.keys.as_mut().map(|keys| keys.next_u32().to_ne_bytes());
        let (head, payload) = self.bytes[self.filled..end].split_at_mut(header);
        Header { opcode, mask, header, payload: len }.write(head);
        fill(payload);
        if let Some(mask) = mask {
            apply_mask(payload, mask);
        }
        self.filled = end;
    }

    /// All frames since [`clear`](Self::clear).
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }
}

/// A whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The code and the reason, if there are any.
    Close(Option<(u16, &'a str)>),
}

/// Why no frame came.
#[derive(Debug, Snafu)]
pub(super) enum ReadError {
    #[snafu(display("failed to read from a socket"))]
    Socket { source: std::io::Error },
    #[snafu(display("failed to understand a peer's WebSocket"))]
    Frame { source: WebSocketError },
}

/// Reads frames from a stream.
#[derive(Debug)]
pub(super) struct Inbox<R> {
    stream: R,
    /// Whether the peer has to mask: it dialled us.
    masked: bool,
    /// What came lies at `start..end`. Grows as bytes come, not as they are announced.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> Inbox<R> {
    /// `ahead`: bytes that came with the handshake.
    pub(super) fn new(stream: R, masked: bool, ahead: Vec<u8>) -> Self {
        let end = ahead.len();
        Self { stream, masked, bytes: ahead, start: 0, end }
    }

    /// The next frame; `None` at the end of the stream. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        let Header { opcode, mask, header, payload } = loop {
            let header = Header::parse(&self.bytes[self.start..self.end], self.masked).context(FrameSnafu)?;
            let whole = header.map_or(MAX_HEADER, |header| header.header + header.payload);
            if let Some(header) = header.filter(|_| self.end - self.start >= whole) {
                break header;
            }
            if self.fill(whole).await.context(SocketSnafu)? == 0 {
                let have = self.end - self.start;
                return if have == 0 { Ok(None) } else { CutSnafu { have }.fail().context(FrameSnafu) };
            }
        };
        let body = self.start + header..self.start + header + payload;
        self.start = body.end;
        let body = &mut self.bytes[body];
        if let Some(mask) = mask {
            apply_mask(body, mask);
        }
        frame(opcode, body).map(Some).context(FrameSnafu)
    }

    /// Reads once, of a frame of `whole` bytes and a little beyond it.
    async fn fill(&mut self, whole: usize) -> std::io::Result<usize> {
        let have = self.end - self.start;
        let room = self.bytes.len() - self.start;
        if have == 0 || room < whole + AHEAD {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
        let wanted = self.start + whole + AHEAD;
        if self.bytes.len() < wanted && self.end == self.bytes.len() {
            self.bytes.resize(wanted.min((2 * self.end).max(SMALL)), 0);
        }
        let upto = wanted.min(self.bytes.len());
        let read = self.stream.read(&mut self.bytes[self.end..upto]).await?;
        self.end += read;
        Ok(read)
    }

    /// Reads and forgets until the peer closes or the stream ends.
    pub(super) async fn drain(&mut self) {
        loop {
            match self.next().await {
                Ok(Some(Frame::Close(_)) | None) | Err(ReadError::Socket { .. }) => return,
                Ok(Some(_)) => {}
                Err(ReadError::Frame { .. }) => break,
            }
        }
        self.bytes.resize(SMALL, 0);
        while let Ok(1..) = self.stream.read(&mut self.bytes).await {}
    }
}

fn frame(opcode: Opcode, body: &[u8]) -> Result<Frame<'_>, WebSocketError> {
    match opcode {
        Opcode::Binary => Ok(Frame::Binary(body)),
        Opcode::Ping => Ok(Frame::Ping(body)),
        Opcode::Pong => Ok(Frame::Pong),
        Opcode::Text => TextSnafu.fail(),
        Opcode::Continuation => FragmentSnafu.fail(),
        Opcode::Close => match body.split_first_chunk() {
            None if body.is_empty() => Ok(Frame::Close(None)),
            None => CloseSnafu.fail(),
            Some((code, reason)) => match std::str::from_utf8(reason) {
                Ok(reason) => Ok(Frame::Close(Some((u16::from_be_bytes(*code), reason)))),
                Err(_) => CloseSnafu.fail(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    fn keys(masked: bool) -> Option<ChaCha8Rng> {
        masked.then(|| ChaCha8Rng::seed_from_u64(7))
    }

    fn opcode() -> impl Strategy<Value = Opcode> {
        prop_oneof![Just(Opcode::Binary), Just(Opcode::Ping), Just(Opcode::Pong)]
    }

    /// A stream that yields at most `most` bytes a read.
    struct Slow<'a> {
        bytes: &'a [u8],
        most: usize,
    }

    impl AsyncRead for Slow<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let (now, later) = self.bytes.split_at(self.bytes.len().min(self.most).min(buffer.remaining()));
            buffer.put_slice(now);
            self.bytes = later;
            std::task::Poll::Ready(Ok(()))
        }
    }

    /// All frames of a stream (opcode and payload of data and pings), and how it ended.
    fn read(bytes: &[u8], most: usize, masked: bool) -> (Vec<Vec<u8>>, Option<WebSocketError>, usize) {
        let ahead = bytes.len().min(most / 2);
        let (first, rest) = bytes.split_at(ahead);
        let mut inbox = Inbox::new(Slow { bytes: rest, most }, masked, first.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut frames = Vec::new();
        let end = runtime.block_on(async {
            loop {
                match inbox.next().await {
                    Ok(Some(Frame::Binary(body) | Frame::Ping(body))) => frames.push(body.to_vec()),
                    Ok(Some(Frame::Pong | Frame::Close(_))) => frames.push(Vec::new()),
                    Ok(None) => return None,
                    Err(ReadError::Frame { source }) => return Some(source),
                    Err(ReadError::Socket { source }) => panic!("{source}"),
                }
            }
        });
        (frames, end, inbox.bytes.len())
    }

    proptest! {
        #[test]
        fn frames_come_back_whatever_the_reads(
            sizes in prop::collection::vec((opcode(), prop_oneof![0usize..130, 0usize..300_000]), 0..6), most in 1usize..400_000, masked: bool,
        ) {
            let mut outbox = Outbox::new(keys(masked));
            let mut sent = Vec::new();
            for (at, (opcode, len)) in sizes.into_iter().enumerate() {
                let len = if opcode.is_control() { len % (MAX_CONTROL + 1) } else { len };
                let body: Vec<u8> = (0..len).map(|byte| (byte * 31 + at) as u8).collect();
                outbox.push(opcode, len, |place| place.copy_from_slice(&body));
                sent.push(if opcode == Opcode::Pong { Vec::new() } else { body });
            }
            // A byte a read takes too long for long frames.
            let most = most.max(outbox.bytes().len() / 1000);
            let (frames, end, _) = read(outbox.bytes(), most, masked);
            prop_assert_eq!(end, None);
            prop_assert!(frames == sent);
        }

        #[test]
        fn a_stream_cut_within_a_frame_is_an_error(len in 0usize..70_000, cut: prop::sample::Index, masked: bool) {
            let mut outbox = Outbox::new(keys(masked));
            outbox.push(Opcode::Binary, len, |place| place.fill(7));
            let have = cut.index(outbox.bytes().len() - 1) + 1;
            prop_assume!(have < outbox.bytes().len());
            let (frames, end, _) = read(&outbox.bytes()[..have], 1 << 20, masked);
            prop_assert!(frames.is_empty());
            prop_assert_eq!(end, Some(WebSocketError::Cut { have }));
        }

        /// Whatever a peer sends: an end, no panic, and no more memory than it sent bytes, but for the smallest buffer.
        #[test]
        fn any_bytes_end_and_take_no_more_memory_than_they_are(
            mut bytes in prop::collection::vec(any::<u8>(), 0..2000), opening in prop::option::of((0u8..16, any::<bool>(), any::<u64>())), masked: bool, most in 1usize..3000,
        ) {
            if let Some((opcode, has_mask, len)) = opening {
                let mut head = vec![FINAL | opcode, 127 | if has_mask { MASKED } else { 0 }];
                head.extend((len >> (len % 64)).to_be_bytes());
                bytes.splice(0..0, head);
            }
            let (_, _, memory) = read(&bytes, most, masked);
            prop_assert!(memory <= SMALL.max(2 * bytes.len()));
        }

        #[test]
        fn a_mask_is_the_same_as_bytewise(mut bytes in prop::collection::vec(any::<u8>(), 0..100), key: [u8; 4]) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            apply_mask(&mut bytes, key);
            prop_assert_eq!(bytes, expected);
        }
    }

    /// Section 5.7 of the RFC.
    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let mut outbox = Outbox::new(None);
        outbox.push(Opcode::Ping, 5, |place| place.copy_from_slice(b"Hello"));
        outbox.push(Opcode::Binary, 256, |place| place.fill(0));
        outbox.push(Opcode::Binary, 65536, |place| place.fill(0));
        let bytes = outbox.bytes();
        assert_eq!(bytes[..7], [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(bytes[7..11], [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(bytes[11 + 256..21 + 256], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        let masked = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(&masked, 100, true).0, [b"Hello"]);
    }

    #[test]
    fn frames_that_break_a_rule_are_named() {
        let long = |len: u64| [&[0x82, 127][..], &len.to_be_bytes()].concat();
        let broken: [(&[u8], WebSocketError); 13] = [
            (&[0xc2, 0], WebSocketError::Kind { byte: 0xc2 }),
            (&[0x83, 0], WebSocketError::Kind { byte: 0x83 }),
            (&[0x02, 0], WebSocketError::Fragment),
            (&[0x80, 0], WebSocketError::Fragment),
            (&[0x09, 0], WebSocketError::Fragment),
            (&[0x81, 1, b'a'], WebSocketError::Text),
            (&[0x82, 0x80, 0, 0, 0, 0], WebSocketError::Mask { masked: true }),
            (&[0x89, 126, 0, 126], WebSocketError::Long { len: 126, most: MAX_CONTROL }),
            (&[0x82, 126, 0, 125], WebSocketError::Length { len: 125 }),
            (&long(0xffff), WebSocketError::Length { len: 0xffff }),
            (&long(u64::MAX), WebSocketError::Long { len: u64::MAX, most: MAX_FRAME }),
            (&[0x88, 1, 3], WebSocketError::Close),
            (&[0x88, 3, 3, 232, 0xff], WebSocketError::Close),
        ];
        for (bytes, error) in broken {
            assert_eq!(read(bytes, 100, false).1, Some(error));
        }
        assert_eq!(read(&[0x82, 0], 100, true).1, Some(WebSocketError::Mask { masked: false }));
        assert_eq!(
            read(&long(MAX_FRAME as u64 + 1), 100, false).1,
            Some(WebSocketError::Long { len: MAX_FRAME as u64 + 1, most: MAX_FRAME })
        );
    }

    #[test]
    fn a_close_frame_says_why() {
        let mut body = 4000u16.to_be_bytes().to_vec();
        body.extend("because".bytes());
        assert_eq!(frame(Opcode::Close, &body), Ok(Frame::Close(Some((4000, "because")))));
        assert_eq!(frame(Opcode::Close, &[]), Ok(Frame::Close(None)));
    }
}
