//! Who may call: a shared token, from a file that may be rotated under us. It must not know what the calls do.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use tintype_types::ErrorCode;

use crate::answer::Refusal;

/// Least length of a token in bytes: 128 bits, if they are random.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token read from a file, in bytes; a projected service-account token has about one KiB.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Where a shared token comes from. Cloning is cheap; its `Debug` hides the token.
#[derive(Clone)]
pub struct TokenSource {
    inner: Arc<Inner>,
}

enum Inner {
    Bytes(Vec<u8>),
    File { path: PathBuf, last: Mutex<Read> },
}

/// A token and what the file looked like when it was read.
struct Read {
    look: Look,
    token: Vec<u8>,
}

/// Changes when the file does: modification time, inode and length.
type Look = (i64, i64, u64, u64);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("reading the token file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token is too short to be a secret.
    #[error("the token has {bytes} bytes; at least 16 are needed")]
    Weak {
        /// How long it is.
        bytes: usize,
    },
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.inner {
            Inner::Bytes(_) => f.write_str("TokenSource::Bytes(..)"),
            Inner::File { path, .. } => write!(f, "TokenSource::File({})", path.display()),
        }
    }
}

impl TokenSource {
    /// A token given outright.
    ///
    /// # Errors
    /// `Weak` under 16 bytes.
    pub fn bytes(token: impl Into<Vec<u8>>) -> Result<Self, TokenError> {
        let token = checked(token.into())?;
        Ok(Self { inner: Arc::new(Inner::Bytes(token)) })
    }

    /// A token in a file, white space at its ends aside. It is read now, and again whenever the file has changed; while
    /// a changed file cannot be read, the last token stays good.
    ///
    /// # Errors
    /// `Unreadable`, `Weak` under 16 bytes.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, TokenError> {
        let path = path.into();
        let last = Mutex::new(read(&path)?);
        Ok(Self { inner: Arc::new(Inner::File { path, last }) })
    }

    /// Whether this is the token, compared in constant time.
    pub(crate) fn admits(&self, offered: &[u8]) -> bool {
        match &*self.inner {
            Inner::Bytes(token) => token.ct_eq(offered).into(),
            Inner::File { path, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if look(path).is_ok_and(|look| look != last.look) {
                    match read(path) {
                        Ok(fresh) => *last = fresh,
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, "the changed token file is not usable; the old token stays good");
                        }
                    }
                }
                last.token.ct_eq(offered).into()
            }
        }
    }
}

fn read(path: &Path) -> Result<Read, TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    // Looked at before it is read: a change in between is noticed the next time.
    let look = look(path).map_err(unreadable)?;
    if look.3 > TOKEN_BYTES_MAX {
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "this is no token")));
    }
    let token = fs::read(path).map_err(unreadable)?;
    Ok(Read { look, token: checked(token.trim_ascii().to_vec())? })
}

fn look(path: &Path) -> io::Result<Look> {
    fs::metadata(path).map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.len()))
}

fn checked(token: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if token.len() < TOKEN_BYTES_MIN { Err(TokenError::Weak { bytes: token.len() }) } else { Ok(token) }
}

/// Middleware: only calls with `Authorization: Bearer <token>` get through.
pub(crate) async fn require(State(token): State<TokenSource>, request: Request, next: Next) -> Response {
    if bearer(request.headers()).is_some_and(|offered| token.admits(offered)) {
        return next.run(request).await;
    }
    let message = "the token is missing or wrong; send the one from the token file as Authorization: Bearer <token>";
    Refusal::new(ErrorCode::InvalidApiKey, message).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first-token-of-ours\n").unwrap();
        let source = TokenSource::file(&path).unwrap();
        assert!(source.admits(b"first-token-of-ours"));
        assert!(!source.admits(b"first-token-of-ourz"));
        assert!(!source.admits(b""));
        fs::write(&path, "short").unwrap();
        assert!(source.admits(b"first-token-of-ours"));
        assert!(!source.admits(b"short"));
        fs::write(&path, "the-second-token-of-ours").unwrap();
        assert!(source.admits(b"the-second-token-of-ours"));
        assert!(!source.admits(b"first-token-of-ours"));
        fs::remove_file(&path).unwrap();
        assert!(source.admits(b"the-second-token-of-ours"));
    }

    #[test]
    fn no_token_is_no_start() {
        assert!(matches!(TokenSource::bytes("short"), Err(TokenError::Weak { bytes: 5 })));
        assert!(matches!(TokenSource::file("/nonexistent/token"), Err(TokenError::Unreadable { .. })));
        let shown = format!("{:?}", TokenSource::bytes("a-secret-that-is-long").unwrap());
        assert!(!shown.contains("secret"));
    }
}
