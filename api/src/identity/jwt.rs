//! JSON Web Tokens of others (RFC 7519): read, their signature checked against the issuer's keys (RFC 7517), their claims
//! held against what we expect. We sign none. Only signatures of key pairs are taken: with a shared secret, or with `none`,
//! whoever knows the public key could sign.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tintype_types::Timestamp;

/// Longest token read, in bytes.
const BYTES_MAX: usize = 16 << 10;
/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: u64 = 60;

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// It is not a token.
    #[error("it is not a signed token")]
    Shape,
    /// It is signed in a way that is not taken.
    #[error("its signature is of a kind that is not taken")]
    Algorithm,
    /// The issuer has no such key.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
    /// It is somebody else's, for somebody else, too old or too new.
    #[error("its claim `{0}` is not what it should be")]
    Claim(&'static str),
}

/// A public key of an issuer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    pub(crate) kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: we understand none.
    crit: Option<Value>,
}

/// A token that was read and not yet believed.
pub(crate) struct Unchecked<'a> {
    header: Header,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// What a token should say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// Who issued it.
    pub(crate) issuer: &'a str,
    /// For whom, if it says so: our client id.
    pub(crate) audience: Option<&'a str>,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Whether it could be one: three parts between dots.
pub(crate) fn looks_like(text: &str) -> bool {
    text.split('.').count() == 3
}

/// Reads a token.
pub(crate) fn read(text: &str) -> Result<Unchecked<'_>, JwtError> {
    if text.len() > BYTES_MAX {
        return Err(JwtError::Shape);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(JwtError::Shape)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Shape)?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Shape)?;
    if header.crit.is_some() {
        return Err(JwtError::Algorithm);
    }
    let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Shape)?;
    Ok(Unchecked { header, signed, signature: decode(signature)?, claims })
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Shape)
}

impl Unchecked<'_> {
    /// Which of the issuer's keys it says it is signed with.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The claims, once signature and claims are found good.
    pub(crate) fn check(self, key: &Jwk, expected: &Expected<'_>) -> Result<Map<String, Value>, JwtError> {
        if key.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(JwtError::UnknownKey);
        }
        verify(&self.header.alg, key, self.signed.as_bytes(), &self.signature)?;
        check_claims(&self.claims, expected)?;
        Ok(self.claims)
    }
}

/// The algorithm must be one that fits the key: the token alone does not choose it.
fn verify(alg: &str, key: &Jwk, message: &[u8], signature: &[u8]) -> Result<(), JwtError> {
    let part = |part: &Option<String>| part.as_deref().map_or(Err(JwtError::UnknownKey), decode);
    let checked = match (alg, key.kty.as_str(), key.crv.as_deref()) {
        ("RS256", "RSA", _) => {
            let components = RsaPublicKeyComponents { n: part(&key.n)?, e: part(&key.e)? };
            components.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        ("ES256", "EC", Some("P-256")) => {
            let point = [vec![4], part(&key.x)?, part(&key.y)?].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        ("EdDSA", "OKP", Some("Ed25519")) => UnparsedPublicKey::new(&ED25519, part(&key.x)?).verify(message, signature),
        _ => return Err(JwtError::Algorithm),
    };
    checked.map_err(|_| JwtError::Signature)
}

fn check_claims(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), JwtError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Seconds; some issuers write them with a fraction.
    let moment = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds.max(0.0) as u64);
    let now = expected.now.0 / 1_000;
    if text("iss").map(|issuer| issuer.trim_end_matches('/')) != Some(expected.issuer.trim_end_matches('/')) {
        return Err(JwtError::Claim("iss"));
    }
    if moment("exp").is_none_or(|exp| exp.saturating_add(LEEWAY) <= now) {
        return Err(JwtError::Claim("exp"));
    }
    if moment("nbf").is_some_and(|nbf| nbf > now.saturating_add(LEEWAY)) {
        return Err(JwtError::Claim("nbf"));
    }
    if moment("iat").is_some_and(|iat| iat > now.saturating_add(LEEWAY)) {
        return Err(JwtError::Claim("iat"));
    }
    match expected.audience {
        Some(audience) if !is_for(claims.get("aud"), audience) => Err(JwtError::Claim("aud")),
        // Meant for several: then it must say that it was issued to us.
        Some(audience) if text("azp").is_some_and(|party| party != audience) => Err(JwtError::Claim("azp")),
        Some(_) | None => Ok(()),
    }
}

fn is_for(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn jwk(pair: &Ed25519KeyPair) -> Jwk {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        serde_json::from_value(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x })).unwrap()
    }

    fn sign(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    fn header() -> Value {
        json!({ "alg": "EdDSA", "kid": "k" })
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.example", "aud": "us", "sub": "ada", "iat": 1_000, "nbf": 1_000, "exp": 2_000 })
    }

    fn check(token: &str, key: &Jwk, now: u64) -> Result<Map<String, Value>, JwtError> {
        let expected =
            Expected { issuer: "https://issuer.example/", audience: Some("us"), now: Timestamp(now * 1_000) };
        read(token)?.check(key, &expected)
    }

    #[test]
    fn a_good_token_is_believed_for_as_long_as_it_says() {
        let (pair, other) = (pair(1), pair(2));
        let token = sign(&pair, &header(), &claims());
        assert_eq!(check(&token, &jwk(&pair), 1_500).unwrap()["sub"], "ada");
        assert_eq!(check(&token, &jwk(&other), 1_500), Err(JwtError::Signature));
        assert_eq!(check(&token, &jwk(&pair), 2_060), Err(JwtError::Claim("exp")));
        assert_eq!(check(&token, &jwk(&pair), 939), Err(JwtError::Claim("nbf")));
        let forged = format!("{}x{}", &token[..token.len() - 9], &token[token.len() - 8..]);
        assert_eq!(check(&forged, &jwk(&pair), 1_500), Err(JwtError::Signature));
    }

    #[test]
    fn every_claim_counts() {
        let pair = pair(1);
        for (name, value) in [
            ("iss", json!("https://evil.example")),
            ("iss", Value::Null),
            ("aud", json!("them")),
            ("aud", json!(["them"])),
            ("aud", Value::Null),
            ("azp", json!("them")),
            ("exp", Value::Null),
            ("exp", json!("2000")),
            ("iat", json!(9_000)),
        ] {
            let mut changed = claims();
            changed[name] = value;
            let refused = check(&sign(&pair, &header(), &changed), &jwk(&pair), 1_500);
            assert_eq!(refused, Err(JwtError::Claim(name)), "{changed}");
        }
        let mut several = claims();
        (several["aud"], several["azp"]) = (json!(["them", "us"]), json!("us"));
        assert!(check(&sign(&pair, &header(), &several), &jwk(&pair), 1_500).is_ok());
    }

    #[test]
    fn the_token_does_not_choose_how_it_is_checked() {
        let pair = pair(1);
        for alg in ["none", "HS256", "RS256", "ES256", "eddsa", ""] {
            let token = sign(&pair, &json!({ "alg": alg, "kid": "k" }), &claims());
            assert_eq!(check(&token, &jwk(&pair), 1_500), Err(JwtError::Algorithm), "{alg}");
        }
        let critical = sign(&pair, &json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }), &claims());
        assert_eq!(check(&critical, &jwk(&pair), 1_500), Err(JwtError::Algorithm));
        for nonsense in ["", "a.b", "a.b.c", "..", &"x".repeat(BYTES_MAX + 1)] {
            assert!(read(nonsense).is_err(), "{nonsense:.20}");
        }
        let mut key = jwk(&pair);
        key.usage = Some("enc".to_owned());
        assert_eq!(check(&sign(&pair, &header(), &claims()), &key, 1_500), Err(JwtError::UnknownKey));
    }

    /// RFC 7515, appendix A.3: what another's library signed.
    #[test]
    fn the_example_of_the_standard_is_good() {
        let key: Jwk = serde_json::from_value(json!({ "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }))
        .unwrap();
        let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let token = format!("{signed}.{signature}");
        let expected = Expected { issuer: "joe", audience: None, now: Timestamp(1_300_819_000_000) };
        assert_eq!(read(&token).unwrap().check(&key, &expected).unwrap()["http://example.com/is_root"], true);
    }
}
