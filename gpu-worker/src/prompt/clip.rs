//! CLIP's own vocabulary, for checkpoints in a single file: those come without a tokenizer, and all of them were trained
//! with this one. It ships with the program; `CLIP-LICENSE` beside this file says whose it is.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

/// The merges, one a line, in the order of their rank.
const MERGES: &[u8] = include_bytes!("clip_merges.txt.gz");
/// Longest text of them; they have half a megabyte.
const MERGES_BYTES_MAX: u64 = 1 << 20;
/// What ends a word.
const END: &str = "</w>";
/// The two tokens that are no text.
const SPECIAL: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// Tokens of the vocabulary.
pub(crate) const TOKENS: usize = 49_408;

/// The vocabulary by token, and the merges by rank: what `vocab.json` and `merges.txt` say.
///
/// # Errors
/// A program that was built from something else than the file.
pub(super) fn vocabulary() -> Result<(Map<String, Value>, Vec<String>), std::io::Error> {
    let mut text = String::new();
    GzDecoder::new(MERGES).take(MERGES_BYTES_MAX).read_to_string(&mut text)?;
    let merges: Vec<String> = text.lines().map(str::to_owned).collect();
    let alone = letters().map(String::from);
    let at_end = letters().map(|letter| format!("{letter}{END}"));
    let merged = merges.iter().map(|pair| pair.replace(' ', ""));
    let tokens = alone.chain(at_end).chain(merged).chain(SPECIAL.map(str::to_owned));
    Ok((tokens.zip(0_u32..).map(|(token, id)| (token, id.into())).collect(), merges))
}

/// A letter for each byte, in the order of the vocabulary: printable ones stand for themselves, others for the letters
/// from U+0100 on (GPT-2's `bytes_to_unicode`).
fn letters() -> impl Iterator<Item = char> {
    let printable = || ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let others = (0..=255_u32).filter(move |byte| !printable().any(|letter| letter as u32 == *byte)).count();
    printable().chain((0..others as u32).filter_map(|nth| char::from_u32(256 + nth)))
}

#[cfg(test)]
mod tests {
    use super::super::{Padding, PromptEncoder};
    use super::*;

    #[test]
    fn every_token_is_there_once() {
        let (tokens, merges) = vocabulary().unwrap();
        assert_eq!((tokens.len(), merges.len()), (TOKENS, TOKENS - 2 * 256 - 2));
        assert_eq!(tokens["!"], 0);
        assert_eq!(tokens["<|endoftext|>"], 49_407);
    }

    #[test]
    fn words_become_the_ids_transformers_gives() {
        // Printed by transformers 5's CLIPTokenizer on openai/clip-vit-large-patch14's files.
        let cases: [(&str, &[u32]); 4] = [
            ("a photo of a cat", &[320, 1125, 539, 320, 2368]),
            ("Hello world!", &[3306, 1002, 256]),
            ("it's 42 stars, photorealistic 8k", &[585, 568, 275, 273, 2895, 267, 1153, 16157, 279, 330]),
            ("Ünïcödé 日本 🎨", &[6522, 77, 35689, 66, 7255, 67, 4166, 39121, 19277, 361, 13461]),
        ];
        for (padding, pad) in [(Padding::End, 49_407), (Padding::Exclamation, 0)] {
            let encoder = PromptEncoder::clip(padding, 77).unwrap();
            for (text, ids) in cases {
                let encoded = encoder.encode(text).unwrap();
                let end = ids.len() + 1;
                assert_eq!(
                    (encoded[0], &encoded[1..end], encoded[end], encoded[76]),
                    (49_406, ids, 49_407, pad),
                    "{text}"
                );
            }
        }
    }
}
