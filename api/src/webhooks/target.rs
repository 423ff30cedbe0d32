//! Where a webhook may go: only to addresses of the public internet, judged where the connection is made.
//!
//! Which those are says `tintype_types::reach`. A name is resolved by the HTTP client's own resolver, which answers with
//! public addresses or not at all, and the client connects to what was answered: there is no second look-up in which the
//! name could mean something else. Redirects are not followed. On premises, a setting allows private addresses; those of
//! metadata services are never allowed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
pub(crate) use tintype_types::reach::{Reach, Refused};

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a delivery may take.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_000;
/// Ports of a public endpoint.
const PORTS: [u16; 2] = [443, 80];

/// Checks a URL as it is given. What its name means is judged with every delivery.
pub(crate) fn check(url: &str, reach: Reach) -> Result<Url, String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("the URL is longer than {URL_BYTES_MAX} bytes"));
    }
    let parsed = Url::parse(url).map_err(|_| "this is not a URL; give one like https://example.org/hook".to_owned())?;
    if !reach.allows_scheme(parsed.scheme()) {
        return Err("webhooks go by https".to_owned());
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(
            "a user name or password in the URL would be told to everybody who sees it; leave it out".to_owned()
        );
    }
    let port = parsed.port_or_known_default().unwrap_or_default();
    if reach == Reach::Public && !PORTS.contains(&port) {
        return Err(format!("port {port} is none that webhooks go to; use 443"));
    }
    let literal = match parsed.host() {
        Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        Some(url::Host::Domain(_)) => None,
        None => return Err("the URL names no host".to_owned()),
    };
    // The client's resolver is not asked about an address, so it is judged here.
    if literal.is_some_and(|ip| !reach.allows(ip)) {
        return Err("webhooks go to public addresses only".to_owned());
    }
    Ok(parsed)
}

/// The client all deliveries go through.
pub(crate) fn client(reach: Reach) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(Arc::new(Guarded(reach)))
        .redirect(Policy::none())
        // A proxy would do the look-up in our place.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(DELIVERY_TIMEOUT)
        .user_agent(concat!("Tintype-Webhooks/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Resolves names to addresses that may be reached.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = reach.judge(found.map(|address| address.ip()).collect())?;
            Ok(Box::new(allowed.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_refused_by_what_is_wrong_with_them() {
        for (url, said) in [
            ("hook", "not a URL"),
            ("http://example.org/", "https"),
            ("ftp://example.org/", "https"),
            ("https://user:pass@example.org/", "password"),
            ("https://example.org:8080/", "port 8080"),
            ("https://127.0.0.1/", "public"),
            ("https://[::1]/", "public"),
            // One number, octal, hexadecimal: a URL's parser reads them all as addresses.
            ("https://2130706433/", "public"),
            ("https://0177.0.0.1/", "public"),
            ("https://0x7f.1/", "public"),
            (&format!("https://example.org/{}", "x".repeat(2_000)), "longer"),
        ] {
            let refused = check(url, Reach::Public).unwrap_err();
            assert!(refused.contains(said), "{url}: {refused}");
        }
        assert!(check("https://example.org/hook?a=b", Reach::Public).is_ok());
        assert!(check("http://127.0.0.1:9000/hook", Reach::Private).is_ok());
        assert!(check("http://169.254.169.254/latest", Reach::Private).is_err());
    }
}
