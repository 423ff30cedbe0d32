//! One browser's way to a provider and back. Its cookie holds 256 random bits; `state`, `nonce` and PKCE's verifier follow
//! from them, each by a hash of its own, so that none of them tells another and nothing has to be kept here.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::identity::session::Secure;
use crate::identity::token::Token;

/// The cookie's name, and the only path it is sent to.
const COOKIE: &str = "tintype_oauth";
const PATH: &str = "/api/v1/auth/oauth";
/// How long one may be away.
const LIFETIME: Duration = Duration::from_mins(10);
/// Longest way back, in bytes.
const NEXT_BYTES_MAX: usize = 512;

/// A journey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journey {
    token: Token,
    next: String,
}

impl Journey {
    /// Begins one that leads back to a page of ours.
    pub(crate) fn begin(rng: &mut impl Rng, next: Option<&str>) -> Self {
        let next = next.filter(|next| is_ours(next)).unwrap_or("/");
        Self { token: Token::draw(rng), next: next.to_owned() }
    }

    /// The one this browser is on.
    pub(crate) fn sent(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut cookies = cookies.flat_map(|value| value.split(';'));
        let text = cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
        let (token, next) = text.split_once('.')?;
        let next = String::from_utf8(URL_SAFE_NO_PAD.decode(next).ok()?).ok()?;
        Some(Self { token: Token::parse(token)?, next: Some(next).filter(|next| is_ours(next))? })
    }

    /// Makes a browser keep it.
    pub(crate) fn cookie(&self, secure: Secure) -> HeaderValue {
        let text = format!("{}.{}", self.token.reveal(), URL_SAFE_NO_PAD.encode(&self.next));
        cookie(&text, LIFETIME, secure)
    }

    /// Where it leads back to.
    pub(crate) fn next(&self) -> &str {
        &self.next
    }

    /// What the provider sends back with the browser (RFC 6749, 10.12).
    pub(crate) fn state(&self) -> String {
        self.derived("state")
    }

    /// Whether a browser that came back is the one that went.
    pub(crate) fn is_of(&self, state: &str) -> bool {
        self.state().as_bytes().ct_eq(state.as_bytes()).into()
    }

    /// What an id token must repeat (OpenID Connect Core, 3.1.2.1).
    pub(crate) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// PKCE's secret: whoever steals a code has it not (RFC 7636).
    pub(crate) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// What the provider is told of it beforehand.
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier().as_bytes()))
    }

    fn derived(&self, what: &str) -> String {
        let hash = Sha256::new().chain_update(what).chain_update([0]).chain_update(self.token.reveal()).finalize();
        URL_SAFE_NO_PAD.encode(hash)
    }
}

/// Makes a browser forget its journey.
pub(crate) fn clear(secure: Secure) -> HeaderValue {
    cookie("", Duration::ZERO, secure)
}

fn cookie(text: &str, age: Duration, secure: Secure) -> HeaderValue {
    let secure = match secure {
        Secure::Yes => "; Secure",
        Secure::No => "",
    };
    let text = format!("{COOKIE}={text}; Path={PATH}; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.as_secs());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// A path of ours: `//evil.example` and `/\evil.example` are other sites to a browser.
fn is_ours(next: &str) -> bool {
    let plain = next.len() <= NEXT_BYTES_MAX && next.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
    plain && next.starts_with('/') && !next.starts_with("//")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn journey(next: Option<&str>) -> Journey {
        Journey::begin(&mut StdRng::seed_from_u64(1), next)
    }

    #[test]
    fn a_browser_comes_back_on_the_journey_it_went_on() {
        let went = journey(Some("/gallery?star=1"));
        let set = went.cookie(Secure::No).to_str().unwrap().to_owned();
        assert!(set.contains("; HttpOnly") && set.contains("; Path=/api/v1/auth/oauth;"), "{set}");
        let pair = HeaderValue::from_str(set.split(';').next().unwrap()).unwrap();
        let back = Journey::sent(&HeaderMap::from_iter([(header::COOKIE, pair)])).unwrap();
        assert_eq!((&back, back.next()), (&went, "/gallery?star=1"));
        assert!(back.is_of(&went.state()));
        let other = Journey::begin(&mut StdRng::seed_from_u64(2), None);
        assert!(!other.is_of(&went.state()) && !back.is_of("") && !back.is_of(&went.nonce()));
    }

    #[test]
    fn its_secrets_tell_nothing_of_each_other() {
        let journey = journey(None);
        let all = [journey.token.reveal(), journey.state(), journey.nonce(), journey.verifier(), journey.challenge()];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!((43..=128).contains(&journey.verifier().len()), "RFC 7636, 4.1");
    }

    #[test]
    fn it_leads_back_to_pages_of_ours_alone() {
        for other in ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a b", "/a\r\nb"] {
            assert_eq!(journey(Some(other)).next(), "/", "{other:?}");
        }
        assert_eq!(journey(Some(&format!("/{}", "x".repeat(600)))).next(), "/");
    }
}
