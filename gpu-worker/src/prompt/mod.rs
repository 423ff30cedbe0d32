//! From a prompt to token ids: CLIP's byte-pair encoding, in chunks of the model's length, each token with its weight.

mod clip;
mod grammar;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

pub(crate) use clip::TOKENS as CLIP_TOKENS;
pub use grammar::{Part, parse};

use crate::weights::{UnreadableFile, read_bytes, read_json};

/// CLIP's splitting of text into words, numbers one digit at a time, and the rest.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Most tokens a prompt may have, whatever a config says.
const LENGTH_MAX: usize = 4_096;
/// Most chunks of a prompt that are read; what is beyond is cut off.
const CHUNKS_MAX: usize = 16;

/// The fields of `tokenizer_config.json` that are used.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    bos_token: Special,
    eos_token: Special,
    pad_token: Special,
    /// Some published files hold 1e30 here: no limit.
    model_max_length: f64,
}

impl Default for Config {
    fn default() -> Self {
        let end = || Special::Text("<|endoftext|>".to_owned());
        let start = Special::Text("<|startoftext|>".to_owned());
        Self { bos_token: start, eos_token: end(), pad_token: end(), model_max_length: 77.0 }
    }
}

/// A special token: its text, or an object that holds it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Object { content: String },
}

impl Special {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// A stretch of a prompt as long as the text encoder reads at a time: start, up to 75 tokens, end, padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Token ids.
    pub ids: Vec<u32>,
    /// A weight for each; 1 is plain.
    pub weights: Vec<f32>,
}

/// What fills a chunk up behind the end, which text encoders see and differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The end again: OpenAI's CLIP.
    End,
    /// The first token, `!`: OpenCLIP's.
    Exclamation,
}

/// Turns prompts into ids.
#[derive(Debug)]
pub struct PromptEncoder {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
    length: usize,
}

impl PromptEncoder {
    /// Reads a tokenizer folder: `tokenizer.json` if it is there, else `vocab.json` and `merges.txt`. `positions` is
    /// how many tokens the text encoder has room for.
    ///
    /// # Errors
    /// A file that is missing or cannot be understood, or a special token that is not in the vocabulary.
    pub fn read(folder: &Path, positions: usize) -> Result<Self, UnreadableFile> {
        let config_file = folder.join("tokenizer_config.json");
        let config = if config_file.exists() { read_json(&config_file)? } else { Config::default() };
        let (file, tokenizer) = load(folder)?;
        Self::new(&file, tokenizer, &config, positions)
    }

    /// With CLIP's own vocabulary, which ships with the program.
    ///
    /// # Errors
    /// Too few positions for a prompt.
    pub fn clip(padding: Padding, positions: usize) -> Result<Self, UnreadableFile> {
        let own = Path::new("the tokenizer that ships");
        let wrong = |error: &dyn std::fmt::Display| UnreadableFile::new(own, format!("cannot be used: {error}"));
        let (tokens, merges) = clip::vocabulary().map_err(|error| wrong(&error))?;
        let bytes = serde_json::to_vec(&whole(&tokens, &merges)).map_err(|error| wrong(&error))?;
        let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| wrong(&error))?;
        let pad = match padding {
            Padding::End => Config::default().pad_token,
            Padding::Exclamation => Special::Text("!".to_owned()),
        };
        Self::new(own, tokenizer, &Config { pad_token: pad, ..Config::default() }, positions)
    }

    fn new(file: &Path, mut tokenizer: Tokenizer, config: &Config, positions: usize) -> Result<Self, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(file, what);
        tokenizer.with_truncation(None).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        tokenizer.with_padding(None);
        let id = |token: &Special| {
            let text = token.text();
            tokenizer.token_to_id(text).ok_or_else(|| wrong(format!("has no token {text}")))
        };
        let (start, end, pad) = (id(&config.bos_token)?, id(&config.eos_token)?, id(&config.pad_token)?);
        let length = (config.model_max_length.clamp(0.0, LENGTH_MAX as f64) as usize).min(positions);
        if length < 2 {
            return Err(wrong("leaves no room for a prompt".to_owned()));
        }
        Ok(Self { tokenizer, start, end, pad, length })
    }

    /// A prompt with weights, in chunks; see [`parse`]. A plain prompt of up to 75 tokens is one chunk, the same as
    /// [`Self::encode`] gives; a longer one goes on in the next chunk, as does what follows `BREAK`.
    ///
    /// # Errors
    /// Text the tokenizer cannot split.
    pub fn chunks(&self, prompt: &str) -> Result<Vec<Chunk>, tokenizers::Error> {
        let room = (self.length - 2).max(1);
        let mut chunks: Vec<Vec<(u32, f32)>> = vec![Vec::new()];
        for part in parse(prompt) {
            match part {
                Part::Break => chunks.push(Vec::new()),
                Part::Text(text, weight) => {
                    for id in self.tokenizer.encode(text, false)?.get_ids() {
                        if chunks.last().is_none_or(|last| last.len() >= room) {
                            chunks.push(Vec::new());
                        }
                        if let Some(last) = chunks.last_mut() {
                            last.push((*id, weight));
                        }
                    }
                }
            }
            if chunks.len() > CHUNKS_MAX {
                break;
            }
        }
        chunks.truncate(CHUNKS_MAX);
        Ok(chunks.iter().map(|tokens| self.close(tokens)).collect())
    }

    /// A chunk that says nothing.
    pub fn empty(&self) -> Chunk {
        self.close(&[])
    }

    fn close(&self, tokens: &[(u32, f32)]) -> Chunk {
        let (mut ids, mut weights) = (vec![self.start], vec![1.0]);
        for (id, weight) in tokens.iter().take(self.length - 2) {
            ids.push(*id);
            weights.push(*weight);
        }
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        weights.resize(self.length, 1.0);
        Chunk { ids, weights }
    }

    /// The ids of a prompt: start, at most 75 tokens of it, end, padding. What is beyond is cut off, as in diffusers.
    ///
    /// # Errors
    /// Text the tokenizer cannot split.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, tokenizers::Error> {
        let encoding = self.tokenizer.encode(prompt, false)?;
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.start);
        ids.extend(encoding.get_ids().iter().take(self.length - 2));
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        Ok(ids)
    }
}

fn load(folder: &Path) -> Result<(std::path::PathBuf, Tokenizer), UnreadableFile> {
    let whole = folder.join("tokenizer.json");
    let (file, bytes) = if whole.exists() {
        let bytes = read_bytes(&whole)?;
        (whole, bytes)
    } else {
        let merges = folder.join("merges.txt");
        let bytes = from_parts(&folder.join("vocab.json"), &merges)?;
        (merges, bytes)
    };
    let tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(|error| UnreadableFile::new(&file, format!("is not a tokenizer this worker reads: {error}")))?;
    Ok((file, tokenizer))
}

/// The `tokenizer.json` that transformers would make of CLIP's two older files.
fn from_parts(vocab: &Path, merges: &Path) -> Result<Vec<u8>, UnreadableFile> {
    let tokens: serde_json::Map<String, Value> = read_json(vocab)?;
    let text = String::from_utf8(read_bytes(merges)?).map_err(|_| UnreadableFile::new(merges, "is not UTF-8"))?;
    let pairs = text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()).map(str::to_owned);
    serde_json::to_vec(&whole(&tokens, &pairs.collect::<Vec<_>>()))
        .map_err(|error| UnreadableFile::new(vocab, format!("cannot be used: {error}")))
}

fn whole(tokens: &serde_json::Map<String, Value>, pairs: &[String]) -> Value {
    let added: Vec<Value> = ["<|startoftext|>", "<|endoftext|>"]
        .iter()
        .filter_map(|token| tokens.get(*token).map(|id| (token, id)))
        .map(|(token, id)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": tokens, "merges": pairs},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Ids printed by transformers 5's CLIPTokenizer on the same folder.

    #[test]
    fn words_become_the_ids_transformers_gives() {
        let ids = shapes().encode("a red circle on a blue background").unwrap();
        assert_eq!(ids.len(), 77);
        assert_eq!((ids[0], ids[8], ids[76]), (599, 600, 600));
        assert_eq!(ids[1], ids[5], "both are the article");
    }

    #[test]
    fn case_and_spaces_do_not_matter_and_other_words_still_encode() {
        let encoder = shapes();
        let plain = encoder.encode("a red circle").unwrap();
        assert_eq!(encoder.encode("A  Red\n CIRCLE").unwrap(), plain);
        assert_ne!(encoder.encode("a rusty circle, 日本").unwrap(), plain);
        assert_eq!(encoder.encode("").unwrap()[..3], [599, 600, 600]);
    }

    #[test]
    fn a_long_prompt_is_cut_and_still_ends() {
        let ids = shapes().encode(&"red ".repeat(500)).unwrap();
        assert_eq!(ids.len(), 77);
        assert_eq!((ids[75] == ids[1], ids[76]), (true, 600));
    }

    #[test]
    fn a_plain_prompt_is_one_chunk_and_a_long_one_goes_on() {
        let encoder = shapes();
        for prompt in ["a red circle on a blue background", "", "it's 42 stars!"] {
            let chunks = encoder.chunks(prompt).unwrap();
            assert_eq!(chunks, [Chunk { ids: encoder.encode(prompt).unwrap(), weights: vec![1.0; 77] }]);
        }
        let chunks = encoder.chunks(&"red ".repeat(80)).unwrap();
        let rest = encoder.encode(&"red ".repeat(5)).unwrap();
        assert_eq!((chunks.len(), &chunks[1].ids), (2, &rest));
        assert_eq!(encoder.chunks(&"red ".repeat(80_000)).unwrap().len(), CHUNKS_MAX);
        assert_eq!(encoder.chunks(&"BREAK ".repeat(80)).unwrap().len(), CHUNKS_MAX);
    }

    #[test]
    fn weights_go_with_their_tokens_and_break_starts_a_chunk() {
        let encoder = shapes();
        let chunks = encoder.chunks("a (red:1.5) circle BREAK on blue").unwrap();
        assert_eq!(chunks[0].ids, encoder.encode("a red circle").unwrap());
        assert_eq!(chunks[0].weights[..5], [1.0, 1.0, 1.5, 1.0, 1.0]);
        assert_eq!(chunks[1].ids, encoder.encode("on blue").unwrap());
        assert_eq!(chunks.len(), 2);
    }

    #[test]
    fn the_older_pair_of_files_gives_the_same_ids() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
            std::fs::copy(shapes_folder().join(name), folder.path().join(name)).unwrap();
        }
        let (old, new) = (PromptEncoder::read(folder.path(), 77).unwrap(), shapes());
        for text in ["a red circle on a blue background", "it's 42 stars!", "Ünïcödé <|endoftext|> x", ""] {
            assert_eq!(old.encode(text).unwrap(), new.encode(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_damaged_tokenizer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = PromptEncoder::read(folder.path(), 77).unwrap_err();
        assert!(error.file.ends_with("vocab.json"), "{error}");
        std::fs::write(folder.path().join("tokenizer.json"), "{\"version\":").unwrap();
        let error = PromptEncoder::read(folder.path(), 77).unwrap_err();
        assert!(error.file.ends_with("tokenizer.json"), "{error}");
    }

    fn shapes_folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes/tokenizer")
    }

    fn shapes() -> PromptEncoder {
        PromptEncoder::read(&shapes_folder(), 77).unwrap()
    }
}
