//! What letters say. Plain text: it reads the same everywhere, and a link in it shows where it leads.

use tintype_types::Timestamp;

use crate::clock;
use crate::identity::link::Purpose;
use crate::records::digest::Figures;

/// What to say to whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) subject: String,
    pub(super) text: String,
}

const SIGNATURE: &str = "\n-- \nTintype";

/// A letter with a link in it.
pub(super) fn with_link(purpose: Purpose, url: &str) -> Words {
    let minutes = purpose.lifetime().as_secs() / 60;
    let (subject, why, ignore) = match purpose {
        Purpose::SignIn => (
            "Sign in to Tintype",
            "This link signs you in:",
            "If you did not ask for it, ignore this letter: nobody is signed in without the link.",
        ),
        Purpose::Verify => (
            "Is this your address?",
            "Somebody made an account with this address. If it was you, open this link in the browser you are signed in with:",
            "If it was not you, ignore this letter, and the address stays unconfirmed.",
        ),
        Purpose::Reset => (
            "A new password for Tintype",
            "With this link you choose a new password:",
            "If you did not ask for it, ignore this letter: your password stays as it is.",
        ),
    };
    let text = format!("{why}\n\n{url}\n\nIt works once, within {minutes} minutes.\n\n{ignore}\n{SIGNATURE}\n");
    Words { subject: subject.to_owned(), text }
}

/// An invitation to an organisation. Its name is its owner's words: it stands in the text, with a mark that it is a name.
pub(super) fn invitation(org: &str, url: &str) -> Words {
    let text = format!(
        "Somebody asks you to join \"{org}\" on Tintype. Sign in, then open this link in the same browser:\n\n{url}\n\nIt works \
         once, within a week. If you do not know who asks, ignore this letter.\n{SIGNATURE}\n"
    );
    Words { subject: "An invitation to an organisation on Tintype".to_owned(), text }
}

/// "Your images are ready!"
pub(super) fn images_ready(images: i64, site: &str) -> Words {
    let (subject, what) = match images {
        1 => ("Your image is ready!", "The image you asked for is".to_owned()),
        _ => ("Your images are ready!", format!("{images} images you asked for are")),
    };
    let text = format!(
        "{what} in your gallery:\n\n{site}/\n\nYou can turn these letters off in your settings:\n\n{site}/account/\n{SIGNATURE}\n"
    );
    Words { subject: subject.to_owned(), text }
}

/// What was made and spent in a week.
pub(super) fn digest(week: &Figures, site: &str) -> Words {
    let Figures { images, spent, left } = week;
    let made = if *images == 1 { "1 image".to_owned() } else { format!("{images} images") };
    let (spent, left) = (decimal(*spent, 3), decimal(*left, 3));
    let text = format!(
        "In the last seven days you made {made} and spent {spent} credits; {left} are left.\n\nYour gallery:\n\n{site}/gallery/\n\n\
         You can turn these letters off in your settings:\n\n{site}/account/\n{SIGNATURE}\n"
    );
    Words { subject: format!("Your week: {made}"), text }
}

/// So much was spent this month.
pub(super) fn budget_spent(limit_millis: i64, site: &str) -> Words {
    let limit = decimal(limit_millis, 3);
    let text = format!(
        "You wanted to know when {limit} credits were spent in a month: this month they are. Nothing is stopped by it.\n\n\
         What they went for, and where you change this:\n\n{site}/credits/\n{SIGNATURE}\n"
    );
    Words { subject: format!("{limit} credits spent this month"), text }
}

/// Few credits are left.
pub(super) fn runs_low(limit_millis: i64, left_millis: i64, site: &str) -> Words {
    let (limit, left) = (decimal(limit_millis, 3), decimal(left_millis, 3));
    let text = format!(
        "You wanted to know when fewer than {limit} credits are left: you have {left}, with what is set aside for jobs.\n\n\
         Where you get more, and where you change this:\n\n{site}/credits/\n{SIGNATURE}\n"
    );
    Words { subject: format!("Fewer than {limit} credits are left"), text }
}

/// What was paid for.
pub(super) fn receipt(letter: &Receipt<'_>) -> Words {
    let Receipt { reference, credits_millis, amount_minor, currency, paid, page } = letter;
    let credits = decimal(*credits_millis, 3);
    let amount = format!("{} {}", decimal(*amount_minor, minor_digits(currency)), currency.to_uppercase());
    let date = paid.map(|paid| format!("Date: {} (UTC)\n", clock::day(paid))).unwrap_or_default();
    let page = page.map(|page| format!("\nThe payment provider's receipt:\n\n{page}\n")).unwrap_or_default();
    let text = format!(
        "Thank you. {credits} credits are in your account.\n\nPaid: {amount}\n{date}Reference: {reference}\n{page}{SIGNATURE}\n"
    );
    Words { subject: format!("Receipt: {credits} credits for {amount}"), text }
}

/// See [`Letter::Receipt`](super::Letter::Receipt).
pub(super) struct Receipt<'a> {
    pub(super) reference: &'a str,
    pub(super) credits_millis: i64,
    pub(super) amount_minor: i64,
    pub(super) currency: &'a str,
    pub(super) paid: Option<Timestamp>,
    /// The provider's page with an invoice or a receipt, where one is known.
    pub(super) page: Option<&'a str>,
}

/// Currencies without a smaller unit, of those card payments are made in (ISO 4217).
fn minor_digits(currency: &str) -> u32 {
    const NONE: [&str; 16] = [
        "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
    ];
    if NONE.contains(&currency.to_lowercase().as_str()) { 0 } else { 2 }
}

/// A whole number of small units as a decimal, without zeros at its end where they say nothing.
fn decimal(units: i64, digits: u32) -> String {
    let one = 10_i64.pow(digits);
    let (whole, rest) = (units / one, (units % one).abs());
    if rest == 0 && digits == 3 || digits == 0 {
        return whole.to_string();
    }
    let sign = if units < 0 && whole == 0 { "-" } else { "" };
    format!("{sign}{whole}.{rest:0width$}", width = digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_says_where_its_link_leads_and_how_long() {
        let words = with_link(Purpose::SignIn, "https://pictures.example/auth/link#sign_in=abc");
        assert!(words.text.contains("\nhttps://pictures.example/auth/link#sign_in=abc\n"), "{}", words.text);
        assert!(words.text.contains("within 15 minutes"), "{}", words.text);
        let all: Vec<_> = [Purpose::SignIn, Purpose::Verify, Purpose::Reset].map(|p| with_link(p, "u").subject).into();
        assert_eq!(all, ["Sign in to Tintype", "Is this your address?", "A new password for Tintype"]);
    }

    #[test]
    fn money_is_written_in_its_own_units() {
        let say = |currency, amount_minor| {
            let paid = Some(Timestamp(1_795_824_000_000));
            let page = Some("https://pay.example/r");
            receipt(&Receipt { reference: "r1", credits_millis: 100_000, amount_minor, currency, paid, page })
        };
        let text = say("usd", 500).text;
        let told = ["Paid: 5.00 USD", "Date: 2026-11-28 (UTC)", "Reference: r1", "\nhttps://pay.example/r\n"];
        assert!(told.iter().all(|told| text.contains(told)), "{text}");
        assert_eq!(say("usd", 1_000).subject, "Receipt: 100 credits for 10.00 USD");
        assert_eq!(say("jpy", 1_000).subject, "Receipt: 100 credits for 1000 JPY");
        assert_eq!((decimal(-5, 2), decimal(1_500, 3), decimal(7, 2)), ("-0.05".into(), "1.500".into(), "0.07".into()));
        assert_eq!(images_ready(1, "s").subject, "Your image is ready!");
        assert!(images_ready(3, "s").text.contains("3 images"));
        let week = digest(&Figures { images: 1, spent: 1_500, left: 8_500 }, "s");
        assert_eq!(week.subject, "Your week: 1 image");
        assert!(week.text.contains("1 image and spent 1.500 credits; 8.500 are left"), "{}", week.text);
    }
}
