//! JSON files beside the weights, bounded in length, and the numbers Python writes that JSON has not got.

use std::io::Read as _;
use std::path::Path;

use super::UnreadableFile;
use super::file::open_plain;

/// Most bytes of a JSON file beside the weights: CLIP's vocab.json has 1.1 MB, a config some KB. Parsed, it may take
/// many times as much.
const JSON_BYTES_MAX: u64 = 2 << 20;
/// Most bytes of a tokenizer's file. A tokenizer.json has about 4 MB.
const BYTES_MAX: u64 = 16 << 20;
/// What Python's json writes for numbers without end and for none; read as null.
const PYTHON_NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Reads a JSON file of a model folder.
///
/// # Errors
/// A file that is missing, too long, or not of this shape.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, UnreadableFile> {
    let bytes = without_python_numbers(&read_up_to(path, JSON_BYTES_MAX)?);
    serde_json::from_slice(&bytes)
        .map_err(|error| UnreadableFile::new(path, format!("is not the JSON it should be: {error}")))
}

/// Reads a file that should be small.
///
/// # Errors
/// A file that is missing or too long.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, UnreadableFile> {
    read_up_to(path, BYTES_MAX)
}

fn read_up_to(path: &Path, max: u64) -> Result<Vec<u8>, UnreadableFile> {
    let too_long = |length: u64| UnreadableFile::new(path, format!("has {length} bytes; at most {max} are read"));
    let (file, length) = open_plain(path)?;
    if length > max {
        return Err(too_long(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It may grow while it is read.
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| UnreadableFile::new(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > max { Err(too_long(bytes.len() as u64)) } else { Ok(bytes) }
}

/// The same text with `-Infinity`, `Infinity` and `NaN` outside strings as `null`.
fn without_python_numbers(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let (mut in_string, mut rest) = (false, text);
    while let Some((&first, after)) = rest.split_first() {
        if in_string && first == b'\\' {
            let taken = rest.len().min(2);
            plain.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            continue;
        }
        if let (false, Some(number)) = (in_string, PYTHON_NUMBERS.iter().find(|number| rest.starts_with(number))) {
            plain.extend_from_slice(b"null");
            rest = &rest[number.len()..];
            continue;
        }
        in_string ^= first == b'"';
        plain.push(first);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::without_python_numbers;

    #[test]
    fn pythons_numbers_become_null_but_not_in_strings() {
        let text = r#"{"a": -Infinity, "b": [NaN, Infinity], "Infinity": "NaN \" -Infinity", "c": "\\"}"#;
        let plain = String::from_utf8(without_python_numbers(text.as_bytes())).unwrap();
        assert_eq!(plain, r#"{"a": null, "b": [null, null], "Infinity": "NaN \" -Infinity", "c": "\\"}"#);
        assert_eq!(without_python_numbers(b"\"\\"), b"\"\\");
    }
}
