//! Mail by SMTP.

use std::time::Duration;

use anyhow::Context;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::sender::Mail;
use crate::lanes::Failed;

/// Longest wait for the server's next word.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A server that takes our mail.
#[derive(Clone)]
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    /// The server at this URL.
    pub(super) fn new(url: &str, from: Mailbox) -> anyhow::Result<Self> {
        // The URL may hold a password: it is not in the error.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|_| anyhow::anyhow!("not an SMTP URL"))
            .context("the SMTP URL cannot be read; write smtp://host:port or smtps://user:password@host")?;
        Ok(Self { transport: builder.timeout(Some(TIMEOUT)).build(), from })
    }

    pub(super) async fn send(&self, mail: Mail) -> Result<(), Failed> {
        let to: Mailbox = mail.to.parse().map_err(|_| Failed::never("the address cannot be written in a mail"))?;
        let host = self.from.email.domain();
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.subject)
            .message_id(Some(format!("<{}@{host}>", mail.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text)
            .map_err(|_| Failed::never("the mail cannot be written"))?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|error| match error.status() {
            // The server's words may hold the address; its number says enough.
            Some(code) if error.is_permanent() => Failed::never(format!("the SMTP server refused it: {code}")),
            Some(code) => Failed::later(format!("the SMTP server did not take it now: {code}")),
            None if error.is_timeout() => Failed::later("the SMTP server did not answer in time"),
            None => Failed::later("the SMTP server cannot be reached, or does not speak as it should"),
        })
    }
}
