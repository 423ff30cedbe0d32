//! The settings of mail: flags and the environment variables behind them. Without a sender no mail is sent, and what needs
//! mail says so.

use std::path::PathBuf;

use clap::Args as Flags;

/// Resend's API.
const RESEND_URL: &str = "https://api.resend.com";

/// How mail is sent.
#[derive(Clone, Debug, Flags)]
pub struct MailArgs {
    /// Who mail comes from, such as `Tintype <hello@pictures.example>`.
    #[arg(long, env = "TINTYPE_MAIL_FROM")]
    pub mail_from: Option<String>,
    /// Send mail by SMTP: smtps://user:password@host, smtp://host:25, or smtp://host:587?tls=required for STARTTLS.
    #[arg(
        long,
        env = "TINTYPE_SMTP_URL",
        hide_env_values = true,
        conflicts_with = "resend_key_file",
        requires = "mail_from"
    )]
    pub smtp_url: Option<String>,
    /// Send mail by Resend: file with its API key.
    #[arg(long, env = "TINTYPE_RESEND_KEY_FILE", requires = "mail_from")]
    pub resend_key_file: Option<PathBuf>,
    /// Where Resend is.
    #[arg(long, env = "TINTYPE_RESEND_URL", default_value = RESEND_URL)]
    pub resend_url: String,
}

impl Default for MailArgs {
    fn default() -> Self {
        Self { mail_from: None, smtp_url: None, resend_key_file: None, resend_url: RESEND_URL.to_owned() }
    }
}
