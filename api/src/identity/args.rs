//! The settings of signing in: flags and the environment variables behind them.

use axum::http::HeaderName;
use clap::{Args as Flags, ValueEnum};

use super::clerk::ClerkArgs;
use super::oauth::args::OauthArgs;

/// Tries at signing in that one address has a minute, unless the flag says otherwise: a small office behind one address.
const SIGN_INS_PER_MINUTE: u32 = 30;

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signup {
    /// Everybody, at once.
    Open,
    /// Everybody who opens the link that is sent to their address.
    Verified,
    /// Nobody: the administrator makes users.
    Closed,
}

/// How people sign in.
#[derive(Clone, Debug, Flags)]
pub struct IdentityArgs {
    /// Who may make an account for themselves.
    #[arg(long, env = "TINTYPE_SIGNUP", value_enum, default_value = "open")]
    pub signup: Signup,
    /// Tries at signing in and up that one address has a minute; all of them may come at once.
    #[arg(long, env = "TINTYPE_SIGN_INS_PER_MINUTE", default_value_t = SIGN_INS_PER_MINUTE, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sign_ins_per_minute: u32,
    /// The header in which the proxy before this program says who connected to it, such as x-forwarded-for; of a list the
    /// last entry counts. Set it only where such a proxy always sets it: else callers choose their own address.
    #[arg(long, env = "TINTYPE_CLIENT_ADDRESS_HEADER")]
    pub client_address_header: Option<HeaderName>,
    /// With whom else.
    #[command(flatten)]
    pub oauth: OauthArgs,
    /// With Clerk.
    #[command(flatten)]
    pub clerk: ClerkArgs,
}

impl Default for IdentityArgs {
    fn default() -> Self {
        Self {
            signup: Signup::Open,
            sign_ins_per_minute: SIGN_INS_PER_MINUTE,
            client_address_header: None,
            oauth: OauthArgs::default(),
            clerk: ClerkArgs::default(),
        }
    }
}
