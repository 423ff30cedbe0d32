//! Sessions of browsers: how long they last, and the cookie they are known by.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use tintype_types::Timestamp;

use super::Identity;
use super::token::Token;

/// The cookie's name.
const COOKIE: &str = "tintype_session";
/// How long a session lasts that is not used.
pub(crate) const IDLE: Duration = Duration::from_hours(14 * 24);
/// How long a session lasts however much it is used.
pub(crate) const ABSOLUTE: Duration = Duration::from_hours(90 * 24);
/// When a session was last used is written down once in this time.
pub(crate) const SEEN_STEP: Duration = Duration::from_mins(1);
/// Sessions a person may have; one more ends the one unused for longest.
pub(crate) const SESSIONS_MAX: i64 = 50;
/// Characters kept of what a browser says it is.
pub(crate) const USER_AGENT_CHARS_MAX: usize = 200;

/// When a session that begins now ends at the latest.
pub(crate) fn end_of(begun: Timestamp) -> Timestamp {
    Timestamp(begun.0.saturating_add(ABSOLUTE.as_millis() as u64))
}

/// Sessions unused since this moment have ended.
pub(crate) fn idle_since(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(IDLE.as_millis() as u64))
}

/// The token of the session cookie, if the caller sent one.
pub(crate) fn sent(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Makes a browser keep the token. Scripts do not see it, and other sites' requests do not carry it.
pub(crate) fn set(token: &Token, secure: Secure) -> HeaderValue {
    cookie(&token.reveal(), ABSOLUTE, secure)
}

/// Makes a browser forget its token.
pub(crate) fn clear(secure: Secure) -> HeaderValue {
    cookie("", Duration::ZERO, secure)
}

/// Whether the cookie is for TLS alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secure {
    /// Browsers find us at an `https` URL.
    Yes,
    /// On this machine, or in a network of one's own.
    No,
}

impl From<&Identity> for Secure {
    fn from(identity: &Identity) -> Self {
        if identity.is_secure() { Self::Yes } else { Self::No }
    }
}

fn cookie(token: &str, age: Duration, secure: Secure) -> HeaderValue {
    let secure = match secure {
        Secure::Yes => "; Secure",
        Secure::No => "",
    };
    let text = format!("{COOKIE}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.as_secs());
    // Nothing but ASCII without control characters goes into it.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_only_by_its_whole_name() {
        let found = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
            sent(&headers).map(str::to_owned)
        };
        assert_eq!(found("a=b; tintype_session=xyz; c=d").as_deref(), Some("xyz"));
        assert_eq!(found("tintype_session=xyz").as_deref(), Some("xyz"));
        assert_eq!(found("not_tintype_session=xyz; tintype_sessions=xyz"), None);
        assert_eq!(sent(&HeaderMap::new()), None);
    }

    #[test]
    fn the_cookie_is_for_no_script_and_for_no_other_site() {
        let token = Token::parse(&"A".repeat(43)).unwrap();
        let text = "tintype_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax";
        assert_eq!(set(&token, Secure::No), text);
        assert_eq!(set(&token, Secure::Yes), format!("{text}; Secure"));
        assert_eq!(clear(Secure::No), "tintype_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
