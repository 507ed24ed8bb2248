//! Image and label where a record holds these two features and nothing else, as `prepare` writes it: found without building an
//! [`Example`](super::Example), which takes as long as both checksums.
//!
//! Whatever looks different is left to the whole decoder, so this need not know what else the format allows.
//!
//! Source: Protocol Buffers, "Encoding".

use super::FeatureNames;

/// Wire types.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// Image and label of the record `data`, if it is of the plain form.
pub(super) fn image_and_label<'a>(data: &'a [u8], names: &FeatureNames) -> Option<(&'a [u8], i64)> {
    let mut features = sole(data, 1)?;
    let (mut image, mut label) = (None, None);
    while !features.is_empty() {
        let entry = &mut field(&mut features, 1)?;
        let (name, feature) = (field(entry, 1)?, field(entry, 2)?);
        if !entry.is_empty() {
            return None;
        }
        if name == names.image.as_bytes() && image.is_none() {
            image = Some(sole(sole(feature, 1)?, 1)?);
        } else if name == names.label.as_bytes() && label.is_none() {
            label = Some(sole_int64(sole(feature, 3)?)?);
        } else {
            return None;
        }
    }
    Some((image?, label?))
}

/// The content of field `number`, which is all that `message` holds.
fn sole(mut message: &[u8], number: u64) -> Option<&[u8]> {
    let content = field(&mut message, number)?;
    message.is_empty().then_some(content)
}

/// The content of field `number`, which `message` begins with.
fn field<'a>(message: &mut &'a [u8], number: u64) -> Option<&'a [u8]> {
    if varint(message)? != number << 3 | LENGTH {
        return None;
    }
    let length = usize::try_from(varint(message)?).ok()?;
    let (content, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(content)
}

/// The one value of a list, packed or not.
fn sole_int64(mut list: &[u8]) -> Option<i64> {
    if list.first() == Some(&((1 << 3 | VARINT) as u8)) {
        list = &list[1..];
    } else {
        list = sole(list, 1)?;
    }
    let value = varint(&mut list)?;
    list.is_empty().then_some(value as i64)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    prost::decode_length_delimiter(bytes).ok().map(|value| value as u64)
}
