//! API keys: `tt_<8 id>_<32 secret>_<6 check>`, base62. The check digits tell a typing error from a wrong key without a
//! look into the database; what is kept is the SHA-256 of the whole key (190 random bits need no slow hash).

use rand::{Rng, RngExt};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "tt";
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 32;
const CHECK_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as its holder has it. Shown once; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({}..)", self.id())
    }
}

impl ApiKey {
    /// Draws a new key.
    pub fn generate(rng: &mut impl Rng) -> Self {
        let mut draw = |len: usize| -> String {
            (0..len).map(|_| char::from(BASE62[rng.random_range(0..BASE62.len())])).collect()
        };
        let body = format!("{PREFIX}_{}_{}", draw(ID_LEN), draw(SECRET_LEN));
        let check = check_digits(&body);
        Self { text: format!("{body}_{check}") }
    }

    /// Reads what a caller sent; none if it cannot be a key of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, check) = text.rsplit_once('_')?;
        let mut parts = body.split('_');
        let (prefix, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let shaped = prefix == PREFIX && id.len() == ID_LEN && secret.len() == SECRET_LEN && parts.next().is_none();
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (shaped && plain(id) && plain(secret) && check_digits(body) == check).then(|| Self { text: text.to_owned() })
    }

    /// A key of another's secret under this id, whose check digits are right: a forgery.
    #[cfg(test)]
    pub(crate) fn with_id_of(other: &Self, id: &str) -> Self {
        let secret = other.text.split('_').nth(2).unwrap_or_default();
        let body = format!("{PREFIX}_{id}_{secret}");
        let check = check_digits(&body);
        Self { text: format!("{body}_{check}") }
    }

    /// The part that names the key; not secret.
    pub fn id(&self) -> &str {
        let start = PREFIX.len() + 1;
        self.text.get(start..start + ID_LEN).unwrap_or_default()
    }

    /// The whole key.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// Whether this is the key that was kept, in constant time.
    pub fn matches(&self, kept: &[u8]) -> bool {
        self.sha256().ct_eq(kept).into()
    }
}

/// Whether this could be the part that names a key. What is not is not asked of the database.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// CRC-32 in base62, padded.
fn check_digits(body: &str) -> String {
    let mut rest = crc32(body.as_bytes());
    let mut digits = [b'0'; CHECK_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// CRC-32 (IEEE 802.3), bit by bit: forty bytes a request need no table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_key_survives_its_text_and_shows_nothing() {
        let key = ApiKey::generate(&mut StdRng::seed_from_u64(1));
        assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
        assert!(key.matches(&key.sha256()));
        assert_eq!(key.reveal().len(), 2 + 1 + 8 + 1 + 32 + 1 + 6);
        assert_eq!(format!("{key:?}"), format!("ApiKey({}..)", key.id()));
    }

    #[test]
    fn what_is_mistyped_is_no_key() {
        let key = ApiKey::generate(&mut StdRng::seed_from_u64(1));
        let other = ApiKey::generate(&mut StdRng::seed_from_u64(2));
        assert!(!key.matches(&other.sha256()));
        for at in 0..key.reveal().len() {
            let mut bytes = key.reveal().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(ApiKey::parse(&String::from_utf8(bytes).unwrap()), None, "byte {at}");
        }
        for bad in ["", "tt", "tt_00000000_not-a-key", "sk-1234", "tt___"] {
            assert_eq!(ApiKey::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
