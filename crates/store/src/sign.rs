//! Signatures of URLs: HMAC-SHA256 over method, key and expiry. It must not know a clock: the caller says what time it is.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tintype_types::Timestamp;

use crate::key::Key;
use crate::secret::Secret;

/// What a URL allows. `HEAD` comes with `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// The signature as 64 lower-case hex digits.
pub(crate) fn signature(secret: &Secret, method: Method, key: &Key, expires: Timestamp) -> String {
    hex::encode(mac(secret, method, key, expires).finalize().into_bytes())
}

/// Whether the signature is ours, compared in constant time, and has not run out at `now`.
pub(crate) fn holds(secret: &Secret, method: Method, key: &Key, claimed: &Claimed, now: Timestamp) -> bool {
    let Ok(bytes) = hex::decode(&claimed.signature) else { return false };
    let genuine = mac(secret, method, key, claimed.expires).verify_slice(&bytes).is_ok();
    genuine && now < claimed.expires
}

/// What the URL says.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Claimed {
    expires: Timestamp,
    signature: String,
}

/// The version at the front keeps signatures of other things, and of later forms, apart. A key has no line breaks.
fn mac(secret: &Secret, method: Method, key: &Key, expires: Timestamp) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("tintype-store-v1\n{}\n{key}\n{}", method.as_str(), expires.0).as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_own_method_key_and_time_only() {
        let secret = Secret::from_bytes(vec![1; 32]).unwrap();
        let key = Key::parse("jobs/a/1/0.png").unwrap();
        let expires = Timestamp(1_000);
        let claimed = Claimed { expires, signature: signature(&secret, Method::Put, &key, expires) };
        assert!(holds(&secret, Method::Put, &key, &claimed, Timestamp(999)));
        assert!(!holds(&secret, Method::Put, &key, &claimed, Timestamp(1_000)));
        assert!(!holds(&secret, Method::Get, &key, &claimed, Timestamp(999)));
        assert!(!holds(&secret, Method::Put, &Key::parse("jobs/a/1/1.png").unwrap(), &claimed, Timestamp(999)));
        let longer = Claimed { expires: Timestamp(2_000), ..claimed.clone() };
        assert!(!holds(&secret, Method::Put, &key, &longer, Timestamp(999)));
        let other = Secret::from_bytes(vec![2; 32]).unwrap();
        assert!(!holds(&other, Method::Put, &key, &claimed, Timestamp(999)));
        let short = Claimed { signature: claimed.signature[..62].to_owned(), ..claimed };
        assert!(!holds(&secret, Method::Put, &key, &short, Timestamp(999)));
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // printf 'tintype-store-v1\nGET\na\n5' | openssl dgst -sha256 -hmac "$(printf '0%.0s' $(seq 32))"
        let secret = Secret::from_bytes(vec![b'0'; 32]).unwrap();
        let made = signature(&secret, Method::Get, &Key::parse("a").unwrap(), Timestamp(5));
        assert_eq!(made, "d7a8548d7df47f3c0e38f4793d13ffec825a439f868090fb54041537916b6d98");
    }
}
