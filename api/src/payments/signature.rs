//! Stripe's signature of a webhook: `t=<seconds>,v1=<hmac>`, over `<seconds>.<body>`. Pure.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use tintype_types::Timestamp;

/// How far the signature's time may be from ours: as Stripe's own libraries have it.
const TOLERANCE: Duration = Duration::from_mins(5);
/// Signatures looked at in one header: one for each secret while they are changed.
const SIGNATURES_MAX: usize = 8;

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no signature, or it cannot be read.
    #[error("the stripe-signature header is missing or cannot be read")]
    Unreadable,
    /// It was signed too long ago, or in the future.
    #[error("it was signed more than five minutes from now; check the clocks")]
    Stale,
    /// Nobody with our secret signed this.
    #[error("no signature in the stripe-signature header is made with this endpoint's secret")]
    Forged,
}

/// Whether the body was signed with the secret, about now.
///
/// # Errors
/// Why not.
pub fn verify(secret: &str, header: &str, body: &[u8], now: Timestamp) -> Result<(), Refused> {
    let (mut at, mut offered) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", seconds)) => at = seconds.parse::<u64>().ok(),
            Some(("v1", hex)) if offered.len() < SIGNATURES_MAX => offered.extend(hex::decode(hex).ok()),
            // Other schemes, such as v0 of Stripe's test events, prove nothing.
            Some(_) | None => {}
        }
    }
    let at = at.ok_or(Refused::Unreadable)?;
    if offered.is_empty() {
        return Err(Refused::Unreadable);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Refused::Forged)?;
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let expected = mac.finalize().into_bytes();
    let good = offered.iter().fold(Choice::from(0), |good, one| good | one.as_slice().ct_eq(expected.as_slice()));
    if !bool::from(good) {
        return Err(Refused::Forged);
    }
    let signed = Timestamp(at.saturating_mul(1_000));
    let apart = if signed > now { signed.since(now) } else { now.since(signed) };
    if apart > TOLERANCE { Err(Refused::Stale) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test";
    /// `stripe.WebhookSignature._compute_signature("1700000000.{}", "whsec_test")` of Stripe's Python SDK.
    const GOOD: &str = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91";
    const NOW: Timestamp = Timestamp(1_700_000_100_000);

    #[test]
    fn what_stripes_own_signer_signed_is_believed_once_and_for_five_minutes() {
        let header = format!("t=1700000000,v1={GOOD}");
        assert_eq!(verify(SECRET, &header, b"{}", NOW), Ok(()));
        let two = format!("t=1700000000,v1={},v1={GOOD},v0=ffff", "00".repeat(32));
        assert_eq!(verify(SECRET, &two, b"{}", NOW), Ok(()), "one of several secrets");
        assert_eq!(verify(SECRET, &header, b"{ }", NOW), Err(Refused::Forged), "another body");
        assert_eq!(verify("whsec_other", &header, b"{}", NOW), Err(Refused::Forged));
        let moved = format!("t=1700000001,v1={GOOD}");
        assert_eq!(verify(SECRET, &moved, b"{}", NOW), Err(Refused::Forged), "the time is signed too");
        for (now, verdict) in [
            (1_700_000_300_000, Ok(())),
            (1_700_000_300_001, Err(Refused::Stale)),
            (1_699_999_700_000, Ok(())),
            (1_699_999_699_999, Err(Refused::Stale)),
        ] {
            assert_eq!(verify(SECRET, &header, b"{}", Timestamp(now)), verdict);
        }
        for bad in ["", "t=1700000000", "v1=00", "t=x,v1=00", "t=1700000000,v1=zz", "t=1700000000,v0=00", "😀"] {
            assert_eq!(verify(SECRET, bad, b"{}", NOW), Err(Refused::Unreadable), "{bad}");
        }
    }
}
