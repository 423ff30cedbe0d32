//! Secrets we hand out and know again by their hash: 256 random bits, so a slow hash would add nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};

/// Random bytes in a token.
const BYTES: usize = 32;

/// A token as its holder has it. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; BYTES]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Draws a new one.
    pub(crate) fn draw(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; BYTES];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Reads what a caller sent; none if it cannot be a token of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The whole token, fit for cookies and URLs.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is kept of it.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_token_survives_its_text_and_shows_nothing() {
        let token = Token::draw(&mut StdRng::seed_from_u64(1));
        assert_eq!(token.reveal().len(), 43);
        assert_eq!(Token::parse(&token.reveal()), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "Token(..)");
        for bad in ["", "x", &token.reveal()[1..], &format!("{}=", token.reveal())] {
            assert_eq!(Token::parse(bad), None, "{bad:?}");
        }
    }
}
