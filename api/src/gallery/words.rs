//! Words of prompts: where they begin and end, what stands for one in the index, and which are meant by a misspelt one. Pure.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use unicode_segmentation::UnicodeSegmentation;
use uuid::Uuid;

/// Longest word, in characters; of a longer one the beginning counts.
const CHARS_MAX: usize = 48;
/// Most words of one prompt.
const WORDS_MAX: usize = 256;
/// Shorter words are taken at their word: their neighbours are too many.
pub(super) const MISSPELT_MIN: usize = 4;
/// Words of this many characters may be wrong in two places.
const TWICE_MISSPELT_MIN: usize = 7;
/// Most words that a misspelt one is taken for.
const MEANT_MAX: usize = 32;

/// The words of a text, in small letters, by the rules of Unicode (UAX 29): an ideograph is a word of its own.
pub(super) fn words(text: &str) -> BTreeSet<String> {
    let words = text.unicode_words().take(WORDS_MAX);
    words.map(|word| word.chars().flat_map(char::to_lowercase).take(CHARS_MAX).collect()).collect()
}

/// What stands for an account's word in the index: no two accounts have one in common, so that one account's words are found
/// without going over another's. Eight bytes of SHA-256; who searches also compares the account.
pub(super) fn mark(account: Uuid, word: &str) -> i64 {
    let digest = Sha256::new().chain_update(account).chain_update(word).finalize();
    digest.iter().take(8).fold(0, |mark, byte| (mark << 8) | i64::from(*byte))
}

/// How many places a word may be wrong in, by its length in characters. Numbers are meant as they are.
pub(super) fn mistakes(word: &str) -> usize {
    match word.chars().count() {
        _ if word.chars().any(char::is_numeric) => 0,
        ..MISSPELT_MIN => 0,
        MISSPELT_MIN..TWICE_MISSPELT_MIN => 1,
        TWICE_MISSPELT_MIN.. => 2,
    }
}

/// Which of these words may be meant by one that is misspelt, nearest first. A letter too many, too few, another, or two that
/// changed places are a mistake each: trigrams would miss those in short words ("dargon" has 3 of 11 in common with "dragon").
pub(super) fn meant(misspelt: &str, among: impl IntoIterator<Item = String>) -> Vec<String> {
    let most = mistakes(misspelt);
    let letters = letters_of(misspelt);
    // A mistake adds one letter to the set, takes one away, or both: most words of a large vocabulary are told apart by that.
    let alike = |word: &String| (letters ^ letters_of(word)).count_ones() as usize <= 2 * most;
    let near = among.into_iter().filter(alike).map(|word| (strsim::osa_distance(misspelt, &word), word));
    let mut near: Vec<(usize, String)> = near.filter(|(distance, _)| *distance <= most).collect();
    near.sort_unstable();
    near.truncate(MEANT_MAX);
    near.into_iter().map(|(_, word)| word).collect()
}

/// Which letters there are in a word, as bits; letters whose numbers end alike share one.
fn letters_of(word: &str) -> u64 {
    word.chars().fold(0, |letters, letter| letters | 1 << (u32::from(letter) % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_are_small_whole_and_of_any_script() {
        let prompt =
            "A Red-brick LIGHTHOUSE, (cinematic:1.2), caf\u{e9}'s sign; \u{732b}\u{304c} \u{043a}\u{043e}\u{0442}!";
        let expected = [
            "1.2",
            "a",
            "brick",
            "caf\u{e9}'s",
            "cinematic",
            "lighthouse",
            "red",
            "sign",
            "\u{043a}\u{043e}\u{0442}",
            "\u{304c}",
            "\u{732b}",
        ];
        assert_eq!(words(prompt).into_iter().collect::<Vec<_>>(), expected);
        assert!(words("-- ++ \u{2603}").is_empty());
    }

    #[test]
    fn a_prompt_without_an_end_has_an_end() {
        assert_eq!(words(&"ab ".repeat(100_000)).len(), 1);
        let many: Vec<String> = (0..10_000).map(|n| format!("w{n}")).collect();
        assert_eq!(words(&many.join(" ")).len(), WORDS_MAX);
        assert_eq!(words(&"x".repeat(10_000)), BTreeSet::from(["x".repeat(CHARS_MAX)]));
        // One letter that is two when small does not make the word longer than a word may be.
        assert_eq!(words(&"\u{130}".repeat(100)).first().map(|word| word.chars().count()), Some(CHARS_MAX));
    }

    #[test]
    fn marks_are_an_account_s_own() {
        let [ada, eve] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        assert_eq!(mark(ada, "star"), mark(ada, "star"));
        assert_ne!(mark(ada, "star"), mark(eve, "star"));
        assert_ne!(mark(ada, "star"), mark(ada, "stars"));
        // What is in databases already: another way to make marks would find nothing of it.
        assert_eq!(mark(ada, "star"), -4_017_232_504_379_950_913);
    }

    #[test]
    fn a_misspelt_word_means_its_neighbours_nearest_first() {
        let known = list(&["gondola", "gondolas", "canal", "dragon", "dragons", "cat", "car", "1girl", "spaceship"]);
        for (misspelt, expected) in [
            ("gondlas", &["gondolas", "gondola"][..]),
            ("dargon", &["dragon"]),
            ("spaceshp", &["spaceship"]),
            ("psaceshpi", &["spaceship"]),
            ("cta", &[]),
            ("2girl", &[]),
            ("lantern", &[]),
        ] {
            assert_eq!(meant(misspelt, known.clone()), expected, "{misspelt}");
        }
        // Two letters of one bit are one letter to the sieve, and two to the judge.
        assert_eq!(meant("drago\u{ae}", list(&["dragon"])), ["dragon"]);
        assert_eq!(meant("xylophone", list(&["dragonfly"])), [""; 0]);
        let many = (b'a'..=b'z').flat_map(|a| [format!("dra{}on", a as char), format!("drag{}n", a as char)]);
        assert_eq!(meant("dragon", many).len(), MEANT_MAX);
    }
}
