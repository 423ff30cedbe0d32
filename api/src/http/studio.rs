//! Serves the studio: the web app, as `web/scripts/bundle.mjs` packed it into one file that is part of this program. Knows
//! nothing of what the pages are.
//!
//! The bundle is a line of JSON ([`Header`]) and then every file twice, as it is and gzipped. Its policy for what pages may
//! load comes with it: the hashes of the inline scripts are known only where they are written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use super::studio_settings::Reach;
use super::unknown_route;
use crate::state::App;

static BUNDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/studio.bundle"));

/// What `/` says where nobody has built the studio.
const ABSENT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Tintype</title>
<h1>Tintype serves; the studio is not in this program</h1>
<p>The web app is built with Node 20.9 or later: install Node, then run <code>make build</code> again (or
<code>scripts/studio.sh</code>, then <code>cargo build</code>).</p>
<p>The API is here all the same: <a href=/openapi.json>/openapi.json</a> describes it.</p>
";
/// Files whose name changes with their content.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// All others are asked about each time; their tag makes that cheap.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");
/// What Clerk's script needs beside its own origin, as Clerk's documentation lists it: faces of people, a check against robots.
const CLERK_IMAGES: &str = "https://img.clerk.com";
const CLERK_ROBOTS: &str = "https://challenges.cloudflare.com";
/// Pages are nobody else's frame, and tell other sites nothing.
const HARDENING: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
];

#[derive(Debug, Deserialize)]
struct Header {
    /// `Content-Security-Policy` of every page.
    csp: String,
    /// By path, such as `/gallery/index.html`.
    files: BTreeMap<String, Entry>,
    /// Folders that stand for many: `/g/<any>/rest` is answered with `/g/_/rest`.
    placeholders: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    media_type: String,
    etag: String,
    keep: bool,
    /// Start and length, counted from the end of the header's line.
    plain: (usize, usize),
    /// The same of the gzipped form; absent where that is no smaller.
    gzip: Option<(usize, usize)>,
}

struct Studio {
    header: Header,
    bodies: Bytes,
}

/// The pages that are served; none where nobody has built them.
#[derive(Clone)]
pub(crate) struct Pages(Option<Arc<Studio>>);

impl Pages {
    /// Those of the program, or of a bundle beside it: whoever works on the studio need not build the program again.
    ///
    /// # Errors
    /// The bundle cannot be read, or is none.
    pub(crate) fn open(bundle: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = bundle else {
            return Ok(Self(Studio::read(Bytes::from_static(BUNDLE)).map(Arc::new)));
        };
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the studio from {}", path.display()))?;
        let studio = Studio::read(bytes.into()).with_context(|| format!("{} is no studio bundle", path.display()))?;
        Ok(Self(Some(Arc::new(studio))))
    }
}

/// Answers what no route does: a page or file of the studio, else that there is no such thing.
pub(super) async fn serve(State(app): State<App>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return unknown_route().into_response();
    }
    let wants_page = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    match &app.pages.0 {
        Some(studio) => {
            let mut page = studio.answer(uri.path(), &headers, wants_page);
            widen(page.headers_mut(), &app.studio.reach);
            page
        }
        None if uri.path() == "/" => axum::response::Html(ABSENT).into_response(),
        None => unknown_route().into_response(),
    }
}

/// Lets a page reach others too.
fn widen(headers: &mut HeaderMap, reach: &Reach) {
    if *reach == Reach::default() {
        return;
    }
    let Some(Ok(policy)) = headers.get(header::CONTENT_SECURITY_POLICY).map(HeaderValue::to_str) else { return };
    let add = |policy: &str, directive: &str, more: &str| {
        policy.replacen(&format!("{directive} 'self'"), &format!("{directive} 'self' {more}"), 1)
    };
    let mut wider = add(policy, "connect-src", &reach.connect.join(" "));
    if let Some(clerk) = &reach.clerk {
        wider = add(&wider, "script-src", &format!("{clerk} {CLERK_ROBOTS}"));
        wider = add(&wider, "img-src", CLERK_IMAGES);
        wider = format!("{wider}; worker-src 'self' blob:; frame-src 'self' {CLERK_ROBOTS}");
    }
    if let Ok(policy) = HeaderValue::from_str(&wider) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

impl Studio {
    /// None for an empty bundle, and for one that is not ours.
    fn read(bundle: Bytes) -> Option<Self> {
        let line = bundle.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&bundle[..line]).ok()?;
        let bodies = bundle.slice(line + 1..);
        let whole = header.files.values().all(|entry| {
            [Some(entry.plain), entry.gzip].into_iter().flatten().all(|(start, length)| start + length <= bodies.len())
        });
        whole.then_some(Self { header, bodies })
    }

    fn answer(&self, path: &str, asked: &HeaderMap, wants_page: bool) -> Response {
        if let Some(entry) = self.find(path) {
            return self.file(StatusCode::OK, entry, asked);
        }
        match self.header.files.get("/404.html") {
            Some(entry) if wants_page => self.file(StatusCode::NOT_FOUND, entry, asked),
            Some(_) | None => unknown_route().into_response(),
        }
    }

    fn find(&self, path: &str) -> Option<&Entry> {
        let files = &self.header.files;
        if let Some(entry) = files.get(path) {
            return Some(entry);
        }
        let page = |path: &str| files.get(&format!("{}/index.html", path.trim_end_matches('/')));
        page(path).or_else(|| {
            let stand_in = self.stand_in(path)?;
            files.get(&stand_in).or_else(|| page(&stand_in))
        })
    }

    /// The path of what stands for this one.
    fn stand_in(&self, path: &str) -> Option<String> {
        self.header.placeholders.iter().find_map(|(parent, folder)| {
            let rest = path.strip_prefix(parent)?;
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            if name.is_empty() { None } else { Some(format!("{folder}{rest}")) }
        })
    }

    fn file(&self, status: StatusCode, entry: &Entry, asked: &HeaderMap) -> Response {
        let says = |name: header::HeaderName, word: &str| {
            asked.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(word))
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, if entry.keep { KEEP } else { ASK });
        let texts = [(header::ETAG, &entry.etag), (header::CONTENT_TYPE, &entry.media_type)];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        if entry.media_type.starts_with("text/html") {
            self.guard_page(&mut headers);
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if status == StatusCode::OK && says(header::IF_NONE_MATCH, &entry.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let (start, length) = match entry.gzip {
            Some(place) if says(header::ACCEPT_ENCODING, "gzip") => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                place
            }
            Some(_) | None => entry.plain,
        };
        (status, headers, self.bodies.slice(start..start + length)).into_response()
    }

    fn guard_page(&self, headers: &mut HeaderMap) {
        if let Ok(policy) = HeaderValue::from_str(&self.header.csp) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        for (name, value) in HARDENING {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &[u8] = br#"{"csp":"default-src 'self'","placeholders":{"/g/":"/g/_/"},"files":{"/index.html":{"type":"text/html; charset=utf-8","etag":"\"a\"","keep":false,"plain":[0,4],"gzip":[4,2]},"/g/_/index.txt":{"type":"text/plain","etag":"\"t\"","keep":false,"plain":[9,1],"gzip":null},"/g/_/index.html":{"type":"text/html","etag":"\"b\"","keep":false,"plain":[6,1],"gzip":null},"/404.html":{"type":"text/html","etag":"\"c\"","keep":false,"plain":[7,1],"gzip":null},"/_next/a.js":{"type":"text/javascript","etag":"\"d\"","keep":true,"plain":[8,1],"gzip":null}}}
homeGZp4jt"#;

    fn asked(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn ask(path: &str, headers: HeaderMap, wants_page: bool) -> (u16, HeaderMap, Vec<u8>) {
        let response = Studio::read(Bytes::from_static(SMALL)).unwrap().answer(path, &headers, wants_page);
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1_000).await.unwrap();
        (parts.status.as_u16(), parts.headers, body.to_vec())
    }

    #[tokio::test]
    async fn pages_are_found_by_their_folder_and_one_page_stands_for_every_picture() {
        assert_eq!(ask("/", HeaderMap::new(), true).await.2, b"home");
        assert_eq!(ask("/g/0192-abc/", HeaderMap::new(), true).await.2, b"p");
        assert_eq!(ask("/g/0192-abc", HeaderMap::new(), true).await.2, b"p");
        assert_eq!(ask("/g/0192-abc/index.txt", HeaderMap::new(), false).await.2, b"t");
        assert_eq!(ask("/g/", HeaderMap::new(), true).await.0, 404);
        assert_eq!(ask("/g/a/b/", HeaderMap::new(), true).await.0, 404);
    }

    #[tokio::test]
    async fn pages_carry_their_policy_and_named_files_are_kept() {
        let (_, page, _) = ask("/", HeaderMap::new(), true).await;
        assert_eq!(page[header::CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(page[header::CACHE_CONTROL], "no-cache");
        let (_, script, body) = ask("/_next/a.js", HeaderMap::new(), false).await;
        assert_eq!((script[header::CACHE_CONTROL].as_bytes(), body.as_slice()), (KEEP.as_bytes(), b"j".as_slice()));
        assert!(!script.contains_key(header::CONTENT_SECURITY_POLICY));
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again_and_what_it_can_unpack_is_sent_packed() {
        let (status, headers, body) = ask("/", asked(&[(header::ACCEPT_ENCODING, "br, gzip")]), true).await;
        assert_eq!((status, body.as_slice()), (200, b"GZ".as_slice()));
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        assert_eq!(ask("/", asked(&[(header::IF_NONE_MATCH, "\"a\"")]), true).await.0, 304);
        assert_eq!(ask("/", asked(&[(header::IF_NONE_MATCH, "\"z\"")]), true).await.0, 200);
    }

    #[tokio::test]
    async fn people_get_a_page_that_is_not_there_and_programs_an_error() {
        let (status, _, body) = ask("/nowhere/", HeaderMap::new(), true).await;
        assert_eq!((status, body.as_slice()), (404, b"4".as_slice()));
        let (status, _, body) = ask("/api/v2/jobs", HeaderMap::new(), false).await;
        assert_eq!(status, 404);
        assert!(String::from_utf8_lossy(&body).contains("not_found"));
    }

    #[test]
    fn a_page_may_reach_what_was_set_beside_its_own_origin() {
        let mut headers = HeaderMap::new();
        let policy = HeaderValue::from_static("script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        widen(&mut headers, &Reach::default());
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], policy);
        let connect = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
        widen(&mut headers, &Reach { connect, clerk: None });
        let wider = "script-src 'self'; img-src 'self'; connect-src 'self' https://a.example https://b.example; font-src 'self'";
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], wider);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        let clerk = "https://c.example".to_owned();
        widen(&mut headers, &Reach { connect: vec![clerk.clone()], clerk: Some(clerk) });
        let wider = "script-src 'self' https://c.example https://challenges.cloudflare.com; img-src 'self' \
             https://img.clerk.com; connect-src 'self' https://c.example; font-src 'self'; worker-src 'self' blob:; \
             frame-src 'self' https://challenges.cloudflare.com";
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], wider);
    }

    #[test]
    fn a_bundle_that_is_cut_short_is_no_bundle() {
        assert!(Studio::read(Bytes::from_static(&SMALL[..SMALL.len() - 1])).is_none());
        assert!(Studio::read(Bytes::new()).is_none());
    }
}
