//! The grammar of prompts, and what the tokenizer of the model that ships makes of them.

use std::path::Path;
use std::sync::OnceLock;

use tintype_worker::prompt::{Part, PromptEncoder, parse};

/// Tokens the shipped model's encoder has room for, and those it knows.
const POSITIONS: usize = 77;
const VOCABULARY: u32 = 601;
/// What brackets can make of a weight.
const WEIGHT_MAX: f32 = 10.0;

static ENCODER: OnceLock<PromptEncoder> = OnceLock::new();

pub(crate) fn run(bytes: &[u8]) {
    let Ok(prompt) = std::str::from_utf8(bytes) else { return };
    let mut length = 0;
    for part in parse(prompt) {
        if let Part::Text(text, weight) = part {
            assert!(!text.is_empty() && weight.is_finite() && weight.abs() <= WEIGHT_MAX, "{text:?} {weight}");
            length += text.len();
        }
    }
    assert!(length <= prompt.len(), "the grammar takes away and adds nothing");
    let encoder = ENCODER.get_or_init(|| {
        let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes/tokenizer");
        PromptEncoder::read(&tokenizer, POSITIONS).expect("the model that ships can be read")
    });
    let chunks = encoder.chunks(prompt).expect("every text can be split");
    assert!(!chunks.is_empty());
    for chunk in chunks {
        assert!(chunk.ids.len() == POSITIONS && chunk.weights.len() == POSITIONS);
        assert!(chunk.ids.iter().all(|id| *id < VOCABULARY), "an id the text encoder does not know");
        assert!(chunk.weights.iter().all(|weight| weight.is_finite()));
    }
}
