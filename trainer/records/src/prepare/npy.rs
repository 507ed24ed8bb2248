//! The header of a NumPy file: type and sizes of the array behind it.
//!
//! Source: NumPy's documentation of `numpy.lib.format`, versions 1.0 to 3.0.

/// More than any header of an array without named fields takes; what [`parse`] needs of a file at most.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const MAX_DIMENSIONS: usize = 32;

/// What stands before the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    /// Whether the first index varies fastest.
    pub(super) fortran_order: bool,
    /// Sizes of the dimensions.
    pub(super) dims: Vec<u64>,
    /// Where the values begin.
    pub(super) bytes: u64,
}

/// Type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: Kind,
    /// Size of a value.
    pub(super) bytes: u64,
    pub(super) big_endian: bool,
    /// As it stands there: `<f4`.
    pub(super) descr: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
    /// Truth values, texts, times, objects.
    Other,
}

/// Reads the header at the beginning of `file`, of which the first [`MAX_HEADER_BYTES`] are enough.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse(file: &[u8]) -> Result<Header, String> {
    let cut = || "it ends within its header".to_owned();
    if !file.starts_with(&MAGIC[..file.len().min(MAGIC.len())]) || file.is_empty() {
        return Err("it does not begin as a .npy file does".to_owned());
    }
    let version = file.get(6..8).ok_or_else(cut)?;
    let (start, length) = match *version {
        [1, 0] => (10, file.get(8..10).map(|size| u32::from(u16::from_le_bytes([size[0], size[1]])))),
        [2 | 3, 0] => (12, file.get(8..12).and_then(|size| size.try_into().ok()).map(u32::from_le_bytes)),
        _ => return Err(format!("its version is {}.{}, not 1.0, 2.0 or 3.0", version[0], version[1])),
    };
    let end = start + length.ok_or_else(cut)? as usize;
    if end > MAX_HEADER_BYTES {
        return Err(format!("its header of {end} bytes is longer than one of an array of numbers"));
    }
    let text = std::str::from_utf8(file.get(start..end).ok_or_else(cut)?);
    let text = text.map_err(|_| "its header is no text".to_owned())?;
    let fields =
        Parser { rest: text }.fields().ok_or_else(|| format!("its header is no array's: {text:.200}"))?;
    let Fields { descr, fortran_order, shape } = fields;
    let lacking = |name: &str| format!("its header has no {name}");
    Ok(Header {
        element: element(&descr.ok_or_else(|| lacking("descr"))?)?,
        fortran_order: fortran_order.ok_or_else(|| lacking("fortran_order"))?,
        dims: shape.ok_or_else(|| lacking("shape"))?,
        bytes: end as u64,
    })
}

fn element(descr: &str) -> Result<Element, String> {
    let refuse = || format!("its values are of a type that is not read: {descr:?}");
    let (order, rest) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => descr.split_at(1),
        _ => ("|", descr),
    };
    let kind = match rest.as_bytes().first().ok_or_else(refuse)? {
        b'u' => Kind::Unsigned,
        b'i' => Kind::Signed,
        b'f' => Kind::Float,
        _ => return Ok(Element { kind: Kind::Other, bytes: 1, big_endian: false, descr: descr.to_owned() }),
    };
    let bytes =
        rest[1..].parse().ok().filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8 | 16)).ok_or_else(refuse)?;
    Ok(Element { kind, bytes, big_endian: order == ">", descr: descr.to_owned() })
}

#[derive(Default)]
struct Fields {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<u64>>,
}

/// Reads a literal of a Python dictionary with an array's three keys; nothing else is one.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn fields(mut self) -> Option<Fields> {
        let mut fields = Fields::default();
        self.expect("{")?;
        while !self.take("}") {
            let key = self.string()?;
            self.expect(":")?;
            let twice = match key {
                "descr" => fields.descr.replace(self.string()?.to_owned()).is_some(),
                "fortran_order" => fields.fortran_order.replace(self.boolean()?).is_some(),
                "shape" => fields.shape.replace(self.tuple()?).is_some(),
                _ => return None,
            };
            if twice || !(self.take(",") || self.rest.trim_start().starts_with('}')) {
                return None;
            }
        }
        self.rest.trim().is_empty().then_some(fields)
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        rest.map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        self.take(token).then_some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = if self.take("'") { '\'' } else { self.take("\"").then_some('"')? };
        let (text, rest) = self.rest.split_once(quote)?;
        self.rest = rest;
        (!text.contains('\\')).then_some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.take("True") { Some(true) } else { self.take("False").then_some(false) }
    }

    fn tuple(&mut self) -> Option<Vec<u64>> {
        let mut values = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            values.push(self.integer()?);
            let goes_on = self.take(",") || self.rest.trim_start().starts_with(')');
            if !goes_on || values.len() > MAX_DIMENSIONS {
                return None;
            }
        }
        Some(values)
    }

    /// Python 2 wrote an L behind long ones.
    fn integer(&mut self) -> Option<u64> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at(end);
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().ok()
    }
}

#[cfg(test)]
mod tests;
