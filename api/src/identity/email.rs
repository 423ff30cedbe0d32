//! E-mail addresses: as they were typed, and folded so that one person is found again. `Debug` hides them.

/// Longest address, in bytes (RFC 5321, with the erratum 1690 of RFC 3696).
const BYTES_MAX: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;

/// An address that mail could be sent to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Email {
    text: String,
    folded: String,
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Email(..)")
    }
}

impl Email {
    /// Reads what somebody typed; none if no mail could be sent there. Whether it arrives is known once it did.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let plain =
            |part: &str| !part.chars().any(|c| c.is_whitespace() || c.is_control() || "<>()[],;:\"\\@".contains(c));
        let labels = |domain: &str| domain.split('.').all(|label| (1..=63).contains(&label.len()));
        let shaped = (1..=LOCAL_BYTES_MAX).contains(&local.len()) && labels(domain) && text.len() <= BYTES_MAX;
        // Folding may lengthen what is not ASCII.
        let folded = text.to_lowercase();
        (shaped && plain(local) && plain(domain) && folded.len() <= BYTES_MAX)
            .then(|| Self { text: text.to_owned(), folded })
    }

    /// As it was typed; what mail is sent to.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it is found by.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// The part before the `@`: what a new account is called.
    pub(crate) fn local(&self) -> &str {
        self.text.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_again_however_they_are_typed() {
        let email = Email::parse("  Ada.Lovelace@Example.ORG ").unwrap();
        assert_eq!((email.text(), email.folded()), ("Ada.Lovelace@Example.ORG", "ada.lovelace@example.org"));
        assert_eq!(email.local(), "Ada.Lovelace");
        assert_eq!(format!("{email:?}"), "Email(..)");
        for good in ["a@b", "a+tag@b.c", "jos\u{e9}@example.org", "o'neil@example.org"] {
            assert!(Email::parse(good).is_some(), "{good}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "x".repeat(65));
        let longer = format!("a@{}", "x.".repeat(140));
        for bad in
            ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b..c", "a@.b", "a\n@b", "<a@b>", "a@b,c@d", &long, &longer]
        {
            assert!(Email::parse(bad).is_none(), "{bad:?}");
        }
    }
}
