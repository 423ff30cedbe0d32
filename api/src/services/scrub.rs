//! What must not leave this server, taken out of a text whoever wrote it there: addresses of e-mail, keys, tokens, passwords
//! in URLs. A net under the rule that none of it is logged, where a text goes to somebody else. Pure.

use std::borrow::Cow;

/// How keys begin: ours, Stripe's, PostHog's, Resend's, signed tokens.
const KEYS: [&str; 10] = ["tt_", "sk_", "rk_", "pk_", "whsec_", "phc_", "phx_", "re_", "sk-", "eyJ"];
/// Shortest text that can be a key.
const KEY_CHARS_MIN: usize = 12;
/// Texts of letters and digits as long as this are tokens or hashes; an id has 36.
const TOKEN_CHARS_MIN: usize = 40;

/// The text without them.
pub(super) fn scrub(text: &str) -> String {
    text.split_inclusive(ends_word).map(scrub_word).collect()
}

/// What stands between words.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || "\"'`()<>{}[],;=".contains(c)
}

/// A word, with what ends it.
fn scrub_word(word: &str) -> Cow<'_, str> {
    let bare = word.trim_end_matches(ends_word);
    let Some(kind) = secret(bare) else { return Cow::Borrowed(word) };
    Cow::Owned(format!("[{kind}]{}", &word[bare.len()..]))
}

/// What kind of secret a word is.
fn secret(word: &str) -> Option<&'static str> {
    // Also what stands before the host in a URL: `postgres://user:password@host`.
    if word.split_once('@').is_some_and(|(before, after)| !before.is_empty() && !after.is_empty()) {
        return Some("address");
    }
    let key =
        |begin: &&str| word.match_indices(*begin).any(|(at, _)| word.len() - at >= KEY_CHARS_MIN && starts(word, at));
    if KEYS.iter().any(key) {
        return Some("key");
    }
    let token = |part: &str| part.len() >= TOKEN_CHARS_MIN;
    word.split(|c: char| !(c.is_ascii_alphanumeric() || "-_+".contains(c))).any(token).then_some("token")
}

/// Whether a key can begin here: not in the midst of a word such as `last_error`.
fn starts(word: &str, at: usize) -> bool {
    !word[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keys_and_tokens_are_taken_out_and_nothing_else() {
        let token = "a".repeat(43);
        for (text, scrubbed) in [
            ("a database statement failed", "a database statement failed"),
            ("Key (email)=(ada@example.com) exists", "Key (email)=([address]) exists"),
            ("postgres://u:secret@db/tintype: refused", "[address] refused"),
            ("key tt_0123456789abcdef is unknown", "key [key] is unknown"),
            ("Bearer:sk_live_0123456789, again", "[key], again"),
            ("in the future_0123456789abc", "in the future_0123456789abc"),
            ("job 0190a1b2-c3d4-7fff-8000-000000000001 at 14:00", "job 0190a1b2-c3d4-7fff-8000-000000000001 at 14:00"),
            ("tt_ is how keys begin; @ is no address", "tt_ is how keys begin; @ is no address"),
            ("caf\u{e9} \u{2603}", "caf\u{e9} \u{2603}"),
        ] {
            assert_eq!(scrub(text), scrubbed);
        }
        assert_eq!(scrub(&format!("/link/{token}?x")), "[token]");
        assert_eq!(scrub("\"eyJhbGciOiJFUzI1NiJ9.e30\""), "\"[key]\"");
    }
}
