//! `tf.train.Example`: what stands in a record, and how an image and its label are found in it.
//!
//! Between [`framing`](crate::framing), which gives the bytes, and the reader, which checks label and size.
//!
//! Source: TensorFlow, `tensorflow/core/example/{example,feature}.proto`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use snafu::{OptionExt, ResultExt, Snafu};

mod plain;

/// Names of the two features that training reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureNames {
    /// A list of one `bytes`: the image.
    pub image: String,
    /// A list of one `int64`: the class.
    pub label: String,
}

impl Default for FeatureNames {
    fn default() -> Self {
        Self { image: "image".to_owned(), label: "label".to_owned() }
    }
}

/// Image and label of a record's data, which the image shares.
///
/// # Errors
/// As of [`Example::from_bytes`], [`Example::bytes`] and [`Example::int64`].
pub fn image_and_label(data: Bytes, names: &FeatureNames) -> Result<(Bytes, i64), Error> {
    if let Some((image, label)) = plain::image_and_label(&data, names) {
        return Ok((data.slice_ref(image), label));
    }
    let example = Example::from_bytes(data)?;
    Ok((example.bytes(&names.image)?.clone(), example.int64(&names.label)?))
}

/// A record: named lists of values. Features that nobody asks for are ignored.
#[derive(Clone, PartialEq, Message)]
pub struct Example {
    #[prost(message, optional, tag = "1")]
    features: Option<Features>,
}

#[derive(Clone, PartialEq, Message)]
struct Features {
    // Ordered, so that one example has one encoding.
    #[prost(btree_map = "string, message", tag = "1")]
    feature: BTreeMap<String, Feature>,
}

#[derive(Clone, PartialEq, Message)]
struct Feature {
    #[prost(oneof = "Kind", tags = "1, 2, 3")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Bytes(BytesList),
    #[prost(message, tag = "2")]
    Float(FloatList),
    #[prost(message, tag = "3")]
    Int64(Int64List),
}

#[derive(Clone, PartialEq, Message)]
struct BytesList {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    value: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct FloatList {
    #[prost(float, repeated, tag = "1")]
    value: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Int64List {
    #[prost(int64, repeated, tag = "1")]
    value: Vec<i64>,
}

/// Why a record's data is not the example that was asked for.
#[derive(Debug, Snafu)]
pub enum Error {
    /// The data is no `tf.train.Example`.
    #[snafu(display("failed to decode a tf.train.Example"))]
    Decode {
        /// Protocol buffers' own error.
        source: prost::DecodeError,
    },
    /// No feature of that name.
    #[snafu(display("failed to find the feature {name:?}: the record has {present:?}"))]
    Missing {
        /// The feature asked for.
        name: String,
        /// Names that are there.
        present: Vec<String>,
    },
    /// The feature holds values of another type.
    #[snafu(display("failed to read the feature {name:?}: it is a list of {found}, not of {wanted}"))]
    Type {
        /// The feature asked for.
        name: String,
        /// Type asked for.
        wanted: &'static str,
        /// Type that is there.
        found: &'static str,
    },
    /// The feature holds no value, or several.
    #[snafu(display("failed to read the feature {name:?}: it holds {found} values, not one"))]
    Count {
        /// The feature asked for.
        name: String,
        /// Values that are there.
        found: usize,
    },
}

impl Example {
    /// One image and its label, under `names`.
    pub fn of_image(names: &FeatureNames, image: Bytes, label: i64) -> Self {
        let image = Kind::Bytes(BytesList { value: vec![image] });
        let label = Kind::Int64(Int64List { value: vec![label] });
        let feature = [(&names.image, image), (&names.label, label)]
            .map(|(name, kind)| (name.clone(), Feature { kind: Some(kind) }));
        Self { features: Some(Features { feature: feature.into() }) }
    }

    /// The example as a record's data: the same bytes for the same example.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Reads a record's data; values of type `bytes` share its memory.
    pub fn from_bytes(data: Bytes) -> Result<Self, Error> {
        Self::decode(data).context(DecodeSnafu)
    }

    /// The one value of a feature of type `bytes`.
    pub fn bytes(&self, name: &str) -> Result<&Bytes, Error> {
        match self.kind(name)? {
            Kind::Bytes(list) => single(name, &list.value),
            other => other.mistyped(name, BYTES),
        }
    }

    /// The one value of a feature of type `int64`.
    pub fn int64(&self, name: &str) -> Result<i64, Error> {
        match self.kind(name)? {
            Kind::Int64(list) => single(name, &list.value).copied(),
            other => other.mistyped(name, INT64),
        }
    }

    /// All values of a feature of type `float`.
    pub fn floats(&self, name: &str) -> Result<&[f32], Error> {
        match self.kind(name)? {
            Kind::Float(list) => Ok(&list.value),
            other => other.mistyped(name, FLOAT),
        }
    }

    fn kind(&self, name: &str) -> Result<&Kind, Error> {
        let features = self.features.as_ref().map(|features| &features.feature);
        let feature = features.and_then(|features| features.get(name));
        // A feature without any list is what TensorFlow writes for a missing value.
        feature.and_then(|feature| feature.kind.as_ref()).with_context(|| MissingSnafu {
            name,
            present: features
                .map(|features| features.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default(),
        })
    }
}

const BYTES: &str = "bytes";
const FLOAT: &str = "float";
const INT64: &str = "int64";

impl Kind {
    fn mistyped<T>(&self, name: &str, wanted: &'static str) -> Result<T, Error> {
        let found = match self {
            Self::Bytes(_) => BYTES,
            Self::Float(_) => FLOAT,
            Self::Int64(_) => INT64,
        };
        TypeSnafu { name, wanted, found }.fail()
    }
}

fn single<'a, T>(name: &str, values: &'a [T]) -> Result<&'a T, Error> {
    match values {
        [value] => Ok(value),
        _ => CountSnafu { name, found: values.len() }.fail(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(features: &[(&str, Option<Kind>)]) -> Example {
        let feature =
            features.iter().map(|(name, kind)| ((*name).to_owned(), Feature { kind: kind.clone() }));
        Example { features: Some(Features { feature: feature.collect() }) }
    }

    /// Written out by hand from the `.proto` files; TensorFlow's own bytes are in the interoperability test.
    #[test]
    fn an_image_example_has_the_bytes_that_the_format_says() {
        let example = Example::of_image(&FeatureNames::default(), Bytes::from_static(&[7, 8]), 3);
        let expected = [
            &b"\x0a\x21"[..],
            b"\x0a\x0f\x0a\x05image\x12\x06\x0a\x04\x0a\x02\x07\x08",
            b"\x0a\x0e\x0a\x05label\x12\x05\x1a\x03\x0a\x01\x03",
        ]
        .concat();
        let bytes = example.to_bytes();
        assert_eq!(bytes, expected);
        assert_eq!(Example::from_bytes(bytes.into()).unwrap(), example);
    }

    #[test]
    fn features_that_nobody_asks_for_are_ignored() {
        let example = with(&[
            ("height", Some(Kind::Int64(Int64List { value: vec![1, 2, 3] }))),
            ("weights", Some(Kind::Float(FloatList { value: vec![0.5, -1.0] }))),
            ("image", Some(Kind::Bytes(BytesList { value: vec![Bytes::from_static(b"x")] }))),
        ]);
        let read = Example::from_bytes(example.to_bytes().into()).unwrap();
        assert_eq!(read.bytes("image").unwrap(), "x");
        assert_eq!(read.floats("weights").unwrap(), [0.5, -1.0]);
    }

    #[test]
    fn missing_mistyped_and_repeated_features_are_told_apart() {
        let int64 = |values: &[i64]| Some(Kind::Int64(Int64List { value: values.to_vec() }));
        let example = with(&[("label", int64(&[1, 2])), ("empty", int64(&[])), ("unset", None)]);
        assert!(matches!(example.int64("label"), Err(Error::Count { found: 2, .. })));
        assert!(matches!(example.int64("empty"), Err(Error::Count { found: 0, .. })));
        assert!(matches!(example.bytes("unset"), Err(Error::Missing { .. })));
        let missing = example.bytes("image").unwrap_err().to_string();
        assert!(missing.contains("image") && missing.contains("label"), "{missing}");
        let mistyped = example.bytes("label").unwrap_err().to_string();
        assert_eq!(mistyped, r#"failed to read the feature "label": it is a list of int64, not of bytes"#);
        assert!(matches!(Example::default().floats("x"), Err(Error::Missing { .. })));
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(example) = Example::from_bytes(bytes.into()) {
                let _ = (example.bytes("image"), example.int64("label"), example.floats("x"));
            }
        }

        /// Of a record with a few bytes changed, or with more features.
        #[test]
        fn the_short_way_finds_what_the_long_way_does(
            label: i64,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            more: bool,
        ) {
            let names = FeatureNames::default();
            let mut data = Example::of_image(&names, Bytes::from_static(b"pixels"), label).to_bytes();
            if more {
                data.extend(with(&[("label", Some(Kind::Int64(Int64List { value: vec![1] })))]).to_bytes());
            }
            for (place, value) in changes {
                let place = place.index(data.len());
                data[place] = value;
            }
            let data = Bytes::from(data);
            if let Some((image, label)) = plain::image_and_label(&data, &names) {
                let example = Example::from_bytes(data.clone()).unwrap();
                prop_assert_eq!(example.bytes("image").unwrap(), image);
                prop_assert_eq!(example.int64("label").unwrap(), label);
            }
        }

        #[test]
        fn an_image_comes_back(image in prop::collection::vec(any::<u8>(), 0..500), label: i64) {
            let names = FeatureNames::default();
            let example = Example::of_image(&names, image.clone().into(), label);
            let read = Example::from_bytes(example.to_bytes().into()).unwrap();
            prop_assert_eq!(read.bytes("image").unwrap(), &image);
            prop_assert_eq!(read.int64("label").unwrap(), label);
            let data = Bytes::from(example.to_bytes());
            prop_assert_eq!(plain::image_and_label(&data, &names), Some((&image[..], label)));
        }
    }
}
