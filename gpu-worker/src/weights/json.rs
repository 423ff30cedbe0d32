//! JSON files beside the weights, bounded in length, and the numbers Python writes that JSON has not got.

use std::path::Path;

use super::UnreadableFile;

/// Most bytes of a JSON file beside the weights. A tokenizer.json has about 4 MB, a config some KB.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// What Python's json writes for numbers without end and for none; read as null.
const PYTHON_NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Reads a JSON file of a model folder.
///
/// # Errors
/// A file that is missing, too long, or not of this shape.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, UnreadableFile> {
    let bytes = without_python_numbers(&read_bytes(path)?);
    serde_json::from_slice(&bytes)
        .map_err(|error| UnreadableFile::new(path, format!("is not the JSON it should be: {error}")))
}

/// Reads a file that should be small.
///
/// # Errors
/// A file that is missing or too long.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, UnreadableFile> {
    let wrong = |error: std::io::Error| UnreadableFile::new(path, format!("cannot be read: {error}"));
    let length = std::fs::metadata(path).map_err(wrong)?.len();
    if length > JSON_BYTES_MAX {
        return Err(UnreadableFile::new(path, format!("has {length} bytes; at most {JSON_BYTES_MAX} are read")));
    }
    std::fs::read(path).map_err(wrong)
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
