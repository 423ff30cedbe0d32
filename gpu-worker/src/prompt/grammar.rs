//! The grammar of prompts that A1111's web UI made common: `(word:1.3)`, `(word)`, `[word]`, `\(`, `BREAK`.
//!
//! Any text is a prompt: what is not closed or not a number means itself. Pure text in, parts out.

/// What a round bracket without a number multiplies the weight with, and a square one divides it by.
const EMPHASIS: f32 = 1.1;
/// Largest weight either way; beyond it a picture is noise.
const WEIGHT_MAX: f32 = 10.0;
/// Starts a new chunk, as a word of its own.
const BREAK: &str = "BREAK";

/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text of one weight; 1 is plain.
    Text(String, f32),
    /// A new chunk begins.
    Break,
}

/// Splits a prompt. Brackets nest and multiply; an unclosed one counts to the end, as in A1111.
pub fn parse(prompt: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    // Where in `parts` each open bracket began.
    let (mut round, mut square) = (Vec::new(), Vec::new());
    let mut text = String::new();
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '\\' => {
                if let Some(escaped) = rest[1..].chars().next().filter(|next| "()[]\\".contains(*next)) {
                    text.push(escaped);
                    taken += 1;
                } else {
                    text.push('\\');
                }
            }
            '(' | '[' => {
                flush(&mut text, &mut parts);
                if first == '(' { round.push(parts.len()) } else { square.push(parts.len()) }
            }
            ')' if !round.is_empty() => {
                flush(&mut text, &mut parts);
                close(&mut round, &mut parts, EMPHASIS);
            }
            ']' if !square.is_empty() => {
                flush(&mut text, &mut parts);
                close(&mut square, &mut parts, 1.0 / EMPHASIS);
            }
            ':' if !round.is_empty() => match weight(rest) {
                Some((weight, length)) => {
                    flush(&mut text, &mut parts);
                    close(&mut round, &mut parts, weight);
                    taken = length;
                }
                None => text.push(first),
            },
            _ => text.push(first),
        }
        rest = &rest[taken..];
    }
    flush(&mut text, &mut parts);
    while !round.is_empty() {
        close(&mut round, &mut parts, EMPHASIS);
    }
    while !square.is_empty() {
        close(&mut square, &mut parts, 1.0 / EMPHASIS);
    }
    joined(parts)
}

/// `:1.3)` at the start of a text: the number, and the length of it all.
fn weight(text: &str) -> Option<(f32, usize)> {
    let end = text.find(')')?;
    let number = text[1..end].trim();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    // What Rust reads as a number but A1111 does not (`inf`, `1e3`) is text.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let weight: f32 = number.parse().ok()?;
    Some((weight.clamp(-WEIGHT_MAX, WEIGHT_MAX), end + 1))
}

fn flush(text: &mut String, parts: &mut Vec<Part>) {
    if text.is_empty() {
        return;
    }
    let whole = std::mem::take(text);
    let mut rest = whole.as_str();
    while let Some(place) = find_break(rest) {
        push(parts, rest[..place].trim_end());
        parts.push(Part::Break);
        rest = rest[place + BREAK.len()..].trim_start();
    }
    push(parts, rest);
}

fn push(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned(), 1.0));
    }
}

/// Where the word stands alone.
fn find_break(text: &str) -> Option<usize> {
    let apart = |beside: Option<char>| beside.is_none_or(|beside| !beside.is_alphanumeric() && beside != '_');
    text.match_indices(BREAK)
        .map(|(place, _)| place)
        .find(|place| apart(text[..*place].chars().next_back()) && apart(text[*place + BREAK.len()..].chars().next()))
}

/// Multiplies the weight of everything since the last open bracket.
fn close(open: &mut Vec<usize>, parts: &mut [Part], factor: f32) {
    let start = open.pop().unwrap_or(0).min(parts.len());
    for part in &mut parts[start..] {
        if let Part::Text(_, weight) = part {
            *weight = (*weight * factor).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
    }
}

/// Neighbours of one weight as one part, so that a plain prompt with brackets escaped is one text to the tokenizer.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Part::Text(before, weight)), Part::Text(text, same)) if weight.to_bits() == same.to_bits() => {
                before.push_str(&text);
            }
            (_, part) => all.push(part),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A prompt and its parts, BREAK written as an empty text of weight 0.
    type Case = (&'static str, &'static [(&'static str, f32)]);

    #[test]
    fn a1111s_examples_mean_what_they_mean_there() {
        let cases: [Case; 14] = [
            ("normal text", &[("normal text", 1.0)]),
            ("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
            ("(unbalanced", &[("unbalanced", 1.1)]),
            (r"\(literal\]", &[("(literal]", 1.0)]),
            ("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]),
            (
                "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
                &[
                    ("a ", 1.0),
                    ("house", 1.573),
                    (" ", 1.1),
                    ("on", 1.0),
                    (" a ", 1.1),
                    ("hill", 0.55),
                    (", sun, ", 1.1),
                    ("sky", 1.4641),
                    (".", 1.1),
                ],
            ),
            ("[[less]]", &[("less", 1.0 / 1.21)]),
            ("a: b", &[("a: b", 1.0)]),
            ("(a:b)", &[("a:b", 1.1)]),
            ("(a:1e3) (b:inf)", &[("a:1e3", 1.1), (" ", 1.0), ("b:inf", 1.1)]),
            ("(a:99) (b:-1)", &[("a", 10.0), (" ", 1.0), ("b", -1.0)]),
            ("a ) ] b", &[("a ) ] b", 1.0)]),
            (
                "red BREAK (blue BREAK:1.2) BREAKFAST",
                &[("red", 1.0), ("", 0.0), ("blue", 1.2), ("", 0.0), (" BREAKFAST", 1.0)],
            ),
            ("", &[]),
        ];
        for (prompt, expected) in cases {
            let got = parse(prompt);
            assert_eq!(got.len(), expected.len(), "{prompt}: {got:?}");
            for (part, (text, weight)) in got.iter().zip(expected) {
                match part {
                    Part::Text(got, at) => {
                        assert!(got == text && (at - weight).abs() < 1e-5, "{prompt}: {got:?} {at}");
                    }
                    Part::Break => assert!(text.is_empty(), "{prompt}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_prompt(prompt in r"([()\[\]\\:0-9.\-]|BREAK|[a-z ,]|\PC){0,60}") {
            for part in parse(&prompt) {
                if let Part::Text(text, weight) = part {
                    prop_assert!(!text.is_empty() && weight.is_finite() && weight.abs() <= WEIGHT_MAX);
                }
            }
        }

        #[test]
        fn escaped_text_means_itself(prompt in r"[a-z()\[\]\\: ]{1,40}") {
            let escaped: String = prompt
                .chars()
                .flat_map(|c| "()[]\\".contains(c).then_some('\\').into_iter().chain([c]))
                .collect();
            prop_assert_eq!(parse(&escaped), vec![Part::Text(prompt, 1.0)]);
        }
    }
}
