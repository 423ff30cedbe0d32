//! Where a webhook may go: only to addresses of the public internet, judged where the connection is made.
//!
//! A name is resolved by the HTTP client's own resolver, which answers with public addresses or not at all, and the client
//! connects to what was answered: there is no second look-up in which the name could mean something else. Redirects are
//! not followed. On premises, a setting allows private addresses; those of metadata services are never allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a delivery may take.
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_000;
/// Ports of a public endpoint.
const PORTS: [u16; 2] = [443, 80];

/// Whether addresses that are not public may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only what everybody can reach, by `https`.
    Public,
    /// This machine and its networks too, by `http` too: for tests, and where the receivers are next door.
    Private,
}

/// Checks a URL as it is given. What its name means is judged with every delivery.
pub(crate) fn check(url: &str, reach: Reach) -> Result<Url, String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("the URL is longer than {URL_BYTES_MAX} bytes"));
    }
    let parsed = Url::parse(url).map_err(|_| "this is not a URL; give one like https://example.org/hook".to_owned())?;
    match (parsed.scheme(), reach) {
        ("https", _) | ("http", Reach::Private) => {}
        _ => return Err("webhooks go by https".to_owned()),
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
    if literal.is_some_and(|ip| !may_reach(ip, reach)) {
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
            let allowed = allowed(found.map(|address| address.ip()).collect(), reach)?;
            Ok(Box::new(allowed.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// A name that means an address of ours as well as one of the public is as bad as one that means ours alone.
fn allowed(found: Vec<IpAddr>, reach: Reach) -> Result<Vec<IpAddr>, Refused> {
    if found.iter().all(|ip| may_reach(*ip, reach)) { Ok(found) } else { Err(Refused) }
}

/// The name means an address that webhooks do not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name means an address that is not public")]
pub(crate) struct Refused;

fn may_reach(ip: IpAddr, reach: Reach) -> bool {
    match reach {
        Reach::Public => is_public(ip),
        Reach::Private => !is_metadata(ip),
    }
}

/// Addresses behind which clouds keep the keys of the machine that asks.
fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip == Ipv4Addr::new(100, 100, 100, 200),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(inner) => is_metadata(IpAddr::V4(inner)),
            None => ip.is_unicast_link_local() || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        },
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(ip),
        },
    }
}

/// RFC 6890 and its successors: every block that is not for the public.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b)))
}

/// What is routed in public lies in 2000::/3, but for documentation, benchmarks and Teredo.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let special = a == 0x2001 && (b == 0xdb8 || b < 0x200);
    a & 0xe000 == 0x2000 && !special && !(a == 0x3fff && b < 0x1000)
}

/// The IPv4 address an IPv6 address stands for: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let pair = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => pair(g, h),
        (0, 0, 0, 0, 0, 0) if (g, h) != (0, 1) => pair(g, h),
        (0x2002, ..) => pair(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_machines_and_networks_of_our_own_are_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "3fff::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn metadata_is_out_of_reach_whatever_the_setting() {
        for ip in ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254", "fe80::1"] {
            assert!(!may_reach(ip.parse().unwrap(), Reach::Private), "{ip}");
        }
        assert!(may_reach("127.0.0.1".parse().unwrap(), Reach::Private));
    }

    #[test]
    fn one_address_of_ours_spoils_a_name() {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert!(allowed(ips(&["1.1.1.1", "1.0.0.1"]), Reach::Public).is_ok());
        assert_eq!(allowed(ips(&["1.1.1.1", "127.0.0.1"]), Reach::Public), Err(Refused));
    }

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
