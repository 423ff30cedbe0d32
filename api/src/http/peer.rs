//! Who is at the other end of the connection: for counting tries and for showing people where they are signed in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use crate::error::ApiError;
use crate::identity::session::USER_AGENT_CHARS_MAX;
use crate::state::App;

/// The other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address: the connection's, or what our proxy says.
    pub(crate) address: IpAddr,
    /// What the browser says it is.
    pub(crate) user_agent: String,
}

impl FromRequestParts<App> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        let address = told_by_proxy(&parts.headers, app.identity.address_header.as_ref()).or(connected);
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
        Ok(Self {
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            user_agent: user_agent.chars().take(USER_AGENT_CHARS_MAX).collect(),
        })
    }
}

/// The last entry of the header: earlier ones come from whoever connected to the proxy.
fn told_by_proxy(headers: &HeaderMap, name: Option<&HeaderName>) -> Option<IpAddr> {
    let last = headers.get_all(name?).into_iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
    let bare = last.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(last);
    bare.parse().ok().or_else(|| last.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_the_proxy_itself_added_counts_and_nothing_before_it() {
        let name = HeaderName::from_static("x-forwarded-for");
        let told = |lines: &[&'static str]| {
            let headers = lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect();
            told_by_proxy(&headers, Some(&name)).map(|address| address.to_string())
        };
        assert_eq!(told(&["6.6.6.6, 1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(told(&["6.6.6.6", "1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(told(&["1.2.3.4:567"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(told(&["[2001:db8::1]:567"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(told(&["2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(told(&["unknown"]), None);
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("1.2.3.4"))]);
        assert_eq!(told_by_proxy(&headers, None), None, "nobody is believed unless the setting says so");
    }
}
