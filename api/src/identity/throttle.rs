//! How often a door may be tried: by address, so that one machine cannot try many people's passwords, and by e-mail, so
//! that many machines cannot try one's. Whether anybody has that e-mail makes no difference.

use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};
use tintype_types::Timestamp;

use super::email::Email;
use crate::rate::{Limiter, Rate};

/// Tries at one e-mail's password: a handful at once, then one in half a minute. NIST's SP 800-63B wants guesses
/// bounded; a person who mistypes must get in.
const BY_EMAIL: Rate = Rate { per_minute: 2, burst: 10 };

/// Letters to one e-mail that somebody asked for: nobody's mailbox is flooded through us.
const MAILS: Rate = Rate { per_minute: 1, burst: 3 };

/// The counters.
#[derive(Debug)]
pub(crate) struct Throttle {
    addresses: Limiter<IpAddr>,
    emails: Limiter<[u8; 32]>,
    mails: Limiter<[u8; 32]>,
}

impl Throttle {
    /// Takes so many tries a minute from one address.
    pub(crate) fn new(per_minute: u32) -> Self {
        let addresses = Limiter::new(Rate { per_minute, burst: per_minute });
        Self { addresses, emails: Limiter::new(BY_EMAIL), mails: Limiter::new(MAILS) }
    }

    /// A try from this address; how many seconds to wait if it is one too many.
    pub(crate) fn address(&self, address: IpAddr, now: Timestamp) -> Option<u64> {
        self.addresses.take(network_of(address), now).retry_seconds
    }

    /// A try at what belongs to this e-mail; how many seconds to wait if it is one too many.
    pub(crate) fn email(&self, email: &Email, now: Timestamp) -> Option<u64> {
        self.emails.take(key_of(email), now).retry_seconds
    }

    /// A letter to this e-mail is asked for; how many seconds to wait if it is one too many.
    pub(crate) fn mail(&self, email: &Email, now: Timestamp) -> Option<u64> {
        self.mails.take(key_of(email), now).retry_seconds
    }

    /// Whoever has this e-mail got in: their earlier mistakes count no more.
    pub(crate) fn forgive(&self, email: &Email) {
        self.emails.forget(&key_of(email));
    }
}

fn key_of(email: &Email) -> [u8; 32] {
    Sha256::digest(email.folded().as_bytes()).into()
}

/// One customer has one IPv4 address, and a /64 of IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_by_network_and_by_folded_email() {
        let throttle = Throttle::new(2);
        let now = Timestamp(1_000_000);
        let address = |text: &str| throttle.address(text.parse().unwrap(), now);
        assert_eq!([address("2001:db8::1"), address("2001:db8::2"), address("2001:db8::3")], [None, None, Some(30)]);
        assert_eq!(address("2001:db8:0:1::1"), None, "another network");
        assert_eq!([address("1.2.3.4"), address("::ffff:1.2.3.4"), address("1.2.3.4")], [None, None, Some(30)]);
        let email = |text: &str| throttle.email(&Email::parse(text).unwrap(), now);
        assert!((0..10).all(|_| email("A@b.c").is_none()));
        assert_eq!(email("a@B.c"), Some(30));
        assert_eq!(email("other@b.c"), None);
        throttle.forgive(&Email::parse("a@b.c").unwrap());
        assert_eq!(email("a@b.c"), None);
    }
}
