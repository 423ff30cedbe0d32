//! Signatures of webhooks as Svix makes them, which is also what "Standard Webhooks" says: HMAC-SHA256 over id, time and
//! body, several of them while a secret is changed. Checked over the bytes that came, before anything is read in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tintype_types::Timestamp;

/// How far the time of a webhook may be from ours, in seconds.
const TOLERANCE: u64 = 300;
/// Signatures looked at.
const SIGNATURES_MAX: usize = 10;

/// The secret of an endpoint, `whsec_...`.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What came with a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// `svix-id`: the same for every try.
    pub(crate) id: &'a str,
    /// `svix-timestamp`: seconds since 1970.
    pub(crate) timestamp: &'a str,
    /// `svix-signature`: `v1,<base64>`, several between spaces.
    pub(crate) signatures: &'a str,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Secret {
    /// Reads a secret; none if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim().strip_prefix("whsec_")?).ok()?;
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// Whether whoever knows the secret sent this, not long ago.
    pub(crate) fn made(&self, signed: &Signed<'_>, now: Timestamp) -> bool {
        let Ok(sent) = signed.timestamp.parse::<u64>() else { return false };
        if sent.abs_diff(now.0 / 1_000) > TOLERANCE {
            return false;
        }
        let offered = signed.signatures.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,"));
        offered.filter_map(|text| STANDARD.decode(text).ok()).any(|offered| self.signs(signed, &offered))
    }

    fn signs(&self, signed: &Signed<'_>, offered: &[u8]) -> bool {
        // A key of any length will do.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return false };
        for part in [signed.id.as_bytes(), b".", signed.timestamp.as_bytes(), b".", signed.body] {
            mac.update(part);
        }
        // In constant time.
        mac.verify_slice(offered).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Svix's documentation of manual verification.
    const SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
    const SIGNED: Signed<'static> = Signed {
        id: "msg_loFOjxBNrRLzqYUf",
        timestamp: "1731705121",
        signatures: "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        body: br#"{"event_type":"ping","data":{"success":true}}"#,
    };

    #[test]
    fn the_example_of_the_documentation_is_good_for_five_minutes() {
        let secret = Secret::parse(SECRET).unwrap();
        let at = |seconds: u64| Timestamp(seconds * 1_000);
        assert!(secret.made(&SIGNED, at(1_731_705_121)));
        assert!(secret.made(&SIGNED, at(1_731_705_121 + 300)) && !secret.made(&SIGNED, at(1_731_705_121 + 301)));
        assert!(!secret.made(&SIGNED, at(1_731_705_121 - 301)));
    }

    #[test]
    fn nothing_else_is() {
        let secret = Secret::parse(SECRET).unwrap();
        let now = Timestamp(1_731_705_121_000);
        let several = Signed { signatures: "v1a,xx v1,AAAA v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=", ..SIGNED };
        assert!(secret.made(&several, now), "one of several is enough");
        for other in [
            Signed { id: "msg_other", ..SIGNED },
            Signed { timestamp: "1731705122", ..SIGNED },
            Signed { timestamp: "now", ..SIGNED },
            Signed { body: b"{}", ..SIGNED },
            Signed { signatures: "", ..SIGNED },
            Signed { signatures: "rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=", ..SIGNED },
        ] {
            assert!(!secret.made(&other, now), "{other:?}");
        }
        assert!(!Secret::parse("whsec_AAAA").unwrap().made(&SIGNED, now));
        for bad in ["", "whsec_", "plJ3nmyCDGBKInavdOK15jsl", "whsec_%%%"] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
