//! Whether a browser's request comes from our own pages. Browsers send session cookies along with requests that other
//! sites' pages make; `Sec-Fetch-Site` and `Origin` say whose page it was, and no script can change them.

use axum::http::{HeaderMap, Method, header};
use tintype_types::ErrorCode;

use crate::error::ApiError;

/// Whose page asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Ours.
    Ours,
    /// Another site's.
    Other,
    /// Nothing was said: no browser, or one from before 2020.
    Unsaid,
}

/// Whose page asks; `public_url` is where browsers find us, if that is not the host they name.
pub(crate) fn page(headers: &HeaderMap, public_url: Option<&str>) -> Page {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    match (text("sec-fetch-site"), text("origin")) {
        (Some("same-origin"), _) => Page::Ours,
        // Old, or typed into the address bar, or opened from a bookmark: no page at all.
        (Some("none") | None, None) => Page::Unsaid,
        (Some(_), _) => Page::Other,
        (None, Some(origin)) => {
            let host = text(header::HOST.as_str());
            let at_host = origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
            let public = public_url.is_some_and(|url| origin_of(url) == origin);
            if at_host || public { Page::Ours } else { Page::Other }
        }
    }
}

/// Scheme and authority of a URL.
pub(crate) fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Refuses what other sites' pages ask for in a signed-in person's name. Reading is safe: they cannot see the answer.
pub(crate) fn check_cookie_use(method: &Method, headers: &HeaderMap, public_url: Option<&str>) -> Result<(), ApiError> {
    if method.is_safe() || page(headers, public_url) == Page::Ours { Ok(()) } else { Err(refused()) }
}

/// Refuses other sites' pages where nobody needs to be signed in: they must not sign their visitors in to an account of
/// theirs.
pub(crate) fn check_stranger(headers: &HeaderMap, public_url: Option<&str>) -> Result<(), ApiError> {
    if page(headers, public_url) == Page::Other { Err(refused()) } else { Ok(()) }
}

fn refused() -> ApiError {
    let message = "a signed-in browser may ask for this from this site's own pages only: `Sec-Fetch-Site: same-origin` or an \
                   `Origin` of this host must say so; programs send an API key instead";
    ApiError::new(ErrorCode::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn said(lines: &[(&'static str, &'static str)]) -> Page {
        let line = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers =
            lines.iter().map(line).chain([(header::HOST, HeaderValue::from_static("our.host:8080"))]).collect();
        page(&headers, Some("https://pictures.example/base"))
    }

    #[test]
    fn only_our_own_pages_are_ours() {
        assert_eq!(said(&[("sec-fetch-site", "same-origin")]), Page::Ours);
        assert_eq!(said(&[("origin", "http://our.host:8080")]), Page::Ours);
        assert_eq!(said(&[("origin", "https://pictures.example")]), Page::Ours);
        for other in ["https://evil.example", "http://our.host", "null", "http://our.host:8080.evil.example", ""] {
            assert_eq!(said(&[("origin", other)]), Page::Other, "{other}");
        }
        for site in ["cross-site", "same-site", "nonsense"] {
            assert_eq!(said(&[("sec-fetch-site", site), ("origin", "http://our.host:8080")]), Page::Other, "{site}");
        }
        assert_eq!(said(&[("sec-fetch-site", "none")]), Page::Unsaid);
        assert_eq!(said(&[]), Page::Unsaid);
    }

    #[test]
    fn a_cookie_is_good_for_reading_wherever_it_comes_from() {
        let cross =
            HeaderMap::from_iter([(HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static("cross-site"))]);
        let nothing = HeaderMap::new();
        assert!(check_cookie_use(&Method::GET, &cross, None).is_ok());
        for method in [Method::POST, Method::DELETE, Method::PATCH, Method::PUT] {
            assert!(check_cookie_use(&method, &cross, None).is_err());
            assert!(check_cookie_use(&method, &nothing, None).is_err(), "a cookie needs its page named");
        }
        assert!(check_stranger(&nothing, None).is_ok());
        assert!(check_stranger(&cross, None).is_err());
    }
}
