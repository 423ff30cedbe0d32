//! Who carries mail: an SMTP server, or Resend.

use anyhow::{Context, bail};
use lettre::message::Mailbox;
use uuid::Uuid;

use super::args::MailArgs;
use super::resend::Resend;
use super::smtp::Smtp;
use crate::lanes::Failed;

/// A mail as it goes out. Holds addresses and tokens: never logged.
pub(super) struct Mail {
    /// Its errand; the same mail sent twice says the same.
    pub(super) id: Uuid,
    /// To whom.
    pub(super) to: String,
    /// What about.
    pub(super) subject: String,
    /// What it says, as plain text.
    pub(super) text: String,
}

/// Carries mail. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum Sender {
    /// By SMTP.
    Smtp(Smtp),
    /// By Resend's API.
    Resend(Resend),
}

impl Sender {
    /// The one the settings name, if they name one.
    pub(crate) fn new(args: &MailArgs) -> anyhow::Result<Option<Self>> {
        let Some(from) = &args.mail_from else { return Ok(None) };
        let from: Mailbox =
            from.parse().with_context(|| format!("`{from}` is not a sender; write NAME <user@host> or user@host"))?;
        match (&args.smtp_url, &args.resend_key_file) {
            (Some(url), None) => Ok(Some(Self::Smtp(Smtp::new(url, from)?))),
            (None, Some(file)) => Ok(Some(Self::Resend(Resend::new(&args.resend_url, file, &from)?))),
            (None, None) => bail!("mail has a sender's name and no way out; give an SMTP URL or Resend's key as well"),
            (Some(_), Some(_)) => bail!("mail goes out by SMTP or by Resend, not by both"),
        }
    }

    /// Hands a mail over. Errors hold no address.
    pub(super) async fn send(&self, mail: Mail) -> Result<(), Failed> {
        match self {
            Self::Smtp(smtp) => smtp.send(mail).await,
            Self::Resend(resend) => resend.send(mail).await,
        }
    }
}
