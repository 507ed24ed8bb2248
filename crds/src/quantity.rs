//! Kubernetes quantities: amounts of bytes or CPUs with a decimal or binary suffix (`512Mi`, `500m`, `1e9`).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{borrow::Cow, fmt};

/// A quantity as the user wrote it; [`Quantity::bytes`] and [`Quantity::milli`] give its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(pub String);

impl Quantity {
    /// The value as a whole number of bytes, or `None` if it is not a quantity, negative, or not whole.
    pub fn bytes(&self) -> Option<u64> {
        let nano = self.nano()?;
        (nano % NANO == 0).then(|| u64::try_from(nano / NANO).ok()).flatten()
    }

    /// The value in thousandths, rounded up as Kubernetes does, or `None` if it is not a quantity or negative.
    pub fn milli(&self) -> Option<u64> {
        u64::try_from(self.nano()?.div_ceil(NANO / 1000)).ok()
    }

    /// The value in billionths: the finest step that a quantity has; finer digits round up.
    fn nano(&self) -> Option<u128> {
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
            return None;
        }
        let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
        let (binary, decimal) = scale(suffix)?;
        let exponent = decimal + 9 - i32::try_from(fraction.len()).ok()?;
        let value = mantissa.checked_mul(1u128.checked_shl(binary)?)?;
        if exponent >= 0 {
            value.checked_mul(10u128.checked_pow(exponent.unsigned_abs())?)
        } else {
            Some(value.div_ceil(10u128.checked_pow(exponent.unsigned_abs())?))
        }
    }
}

const NANO: u128 = 1_000_000_000;

/// (power of two, power of ten) of a suffix.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            if !(-18..=18).contains(&power) {
                return None;
            }
            (0, power)
        }
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 512Mi")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        crate::schema::quantity(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale_bytes() {
        for (text, bytes) in [
            ("512Mi", Some(512 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("100", Some(100)),
            ("2k", Some(2000)),
            ("1e3", Some(1000)),
            ("1000m", Some(1)),
            ("+7", Some(7)),
            ("500m", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("Mi", None),
            ("1.2.3", None),
            ("12 Mi", None),
            ("99Ei", None),
        ] {
            assert_eq!(Quantity(text.into()).bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn cpus_are_read_in_thousandths_and_round_up() {
        for (text, milli) in [("2", 2000), ("500m", 500), ("0.1", 100), ("1.0001", 1001), ("1u", 1)] {
            assert_eq!(Quantity(text.into()).milli(), Some(milli), "{text}");
        }
    }

    #[test]
    fn integers_are_accepted_as_kubernetes_does() {
        let quantity: Quantity = serde_json::from_str("1048576").unwrap();
        assert_eq!(quantity.bytes(), Some(1 << 20));
    }
}
