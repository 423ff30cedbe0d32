//! The header of a safetensors file: which tensors there are, and where. Nothing in it is believed before it has been
//! checked against the length of the file; what is wrong is said with the tensor's name. It must not know files.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. The reader is our own because the crate's keeps one of
//! two tensors of one name, cannot say which tensor is wrong, and holds whatever a header's metadata holds.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Most tensors of a file: a single-file SDXL checkpoint has 2,600, a LoRA of every layer 9,000.
const TENSORS_MAX: usize = 1 << 16;
/// Longest name of a tensor, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Most dimensions of a tensor: a convolution has 4.
const RANK_MAX: usize = 8;
/// Most entries of a file's metadata: trainers of LoRAs write a hundred. Each takes memory beyond its text.
const METADATA_MAX: usize = 4_096;
/// The name that is no tensor's.
const METADATA: &str = "__metadata__";

/// One tensor: its type, and the bytes it has behind the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Place {
    /// How many numbers it holds. Cannot overflow: the header was checked.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A checked header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, Place>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads a header in front of `data_bytes` bytes of tensors: they must follow each other without gap or overlap, fill
/// the file, and have the sizes that their types and shapes say.
///
/// # Errors
/// What is wrong, to be put behind the file's name.
pub(super) fn parse(text: &[u8], data_bytes: u64) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(text)
        .map_err(|error| format!("is not a safetensors file this worker reads: its header {}", said(&error)))?;
    for (name, place) in &header.tensors {
        check_size(name, place)?;
    }
    check_order(&header.tensors, data_bytes)?;
    Ok(header)
}

/// Without the line: a header has one.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.replace(&format!(" at line {} column {}", error.line(), error.column()), "");
    let place = format!(" (byte {})", error.column());
    if error.is_data() { text } else { format!("is broken: {text}{place}") }
}

fn check_size(name: &str, place: &Place) -> Result<(), String> {
    let Place { dtype, shape, start, end } = place;
    let bits = shape
        .iter()
        .try_fold(1_u64, |product, side| product.checked_mul(*side as u64))
        .and_then(|numbers| numbers.checked_mul(dtype.bitsize() as u64));
    let held = end.checked_sub(*start).and_then(|bytes| bytes.checked_mul(8));
    if bits.is_none() || bits != held {
        return Err(format!(
            "is damaged: the tensor {name}, {dtype:?} of shape {shape:?}, cannot lie in bytes {start} to {end}"
        ));
    }
    Ok(())
}

fn check_order(tensors: &BTreeMap<String, Place>, data_bytes: u64) -> Result<(), String> {
    let mut places: Vec<(u64, u64, &str)> =
        tensors.iter().map(|(name, place)| (place.start, place.end, name.as_str())).collect();
    places.sort_unstable();
    let mut filled = 0;
    for (start, end, name) in places {
        if start != filled {
            let what = if start < filled { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(format!("is damaged: the tensor {name} {what}, at byte {start} after {filled}"));
        }
        if end > data_bytes {
            return Err(format!(
                "is cut short: the tensor {name} ends at byte {end} of {data_bytes}; fetch the file again"
            ));
        }
        filled = end;
    }
    if filled != data_bytes {
        return Err(format!("is damaged: its tensors fill {filled} bytes of {data_bytes}; fetch the file again"));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut header, mut described) = (Header::default(), false);
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        if std::mem::replace(&mut described, true) {
                            return Err(A::Error::custom("has its metadata twice"));
                        }
                        header.metadata = map.next_value::<Kept>()?.0;
                        continue;
                    }
                    if name.len() > NAME_BYTES_MAX || header.tensors.len() == TENSORS_MAX {
                        return Err(A::Error::custom(format!(
                            "has more than {TENSORS_MAX} tensors, or a name longer than {NAME_BYTES_MAX} bytes"
                        )));
                    }
                    let place = map
                        .next_value::<Written>()
                        .map_err(|error| A::Error::custom(format!("misdescribes the tensor {name}: {error}")))?;
                    let Written { dtype, shape: Shape(shape), data_offsets: (start, end) } = place;
                    if header.tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!("has two tensors named {name}")));
                    }
                    header.tensors.insert(name, Place { dtype, shape, start, end });
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A tensor as it is written.
#[derive(Deserialize)]
struct Written {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// Sides, not more of them than any tensor has.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sides;
        impl<'de> Visitor<'de> for Sides {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut sides = Vec::new();
                while let Some(side) = seq.next_element()? {
                    if sides.len() == RANK_MAX {
                        return Err(A::Error::custom(format!("it has more than {RANK_MAX} dimensions")));
                    }
                    sides.push(side);
                }
                Ok(Shape(sides))
            }
        }
        deserializer.deserialize_seq(Sides)
    }
}

/// The metadata.
#[derive(Default)]
struct Kept(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Kept;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts as metadata")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Kept, E> {
                Ok(Kept::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kept, A::Error> {
                let mut kept = BTreeMap::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    kept.insert(name, text);
                    if kept.len() > METADATA_MAX {
                        return Err(A::Error::custom(format!("has more than {METADATA_MAX} entries of metadata")));
                    }
                }
                Ok(Kept(kept))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}
