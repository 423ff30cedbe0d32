//! Which addresses a program may call because a stranger named them: those of the public internet, and nothing behind which
//! machines of our own, or the keys of a cloud, can be reached. Pure: it resolves no name and opens no connection. Callers
//! judge what a name means where the connection is made, so that there is no second look-up in which it could mean something
//! else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether addresses that are not public may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only what everybody can reach, by `https`.
    Public,
    /// This machine and its networks too, by `http` too: for tests, and where those who are called are next door.
    Private,
}

/// A name or a number means an address that is not to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name means an address that is not public")]
pub struct Refused;

impl Reach {
    /// Whether this address may be called. Those of metadata services never may.
    pub fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::Public => is_public(ip),
            Self::Private => !is_metadata(ip),
        }
    }

    /// Whether calls may go by this scheme of a URL.
    pub fn allows_scheme(self, scheme: &str) -> bool {
        scheme == "https" || (self == Self::Private && scheme == "http")
    }

    /// What a name means, if all of it may be called: one that means an address of ours as well as one of the public is as
    /// bad as one that means ours alone.
    ///
    /// # Errors
    /// One address that may not be called.
    pub fn judge(self, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refused> {
        if found.iter().all(|ip| self.allows(*ip)) { Ok(found) } else { Err(Refused) }
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
            assert!(!Reach::Private.allows(ip.parse().unwrap()), "{ip}");
        }
        assert!(Reach::Private.allows("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn one_address_of_ours_spoils_a_name() {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert!(Reach::Public.judge(ips(&["1.1.1.1", "1.0.0.1"])).is_ok());
        assert_eq!(Reach::Public.judge(ips(&["1.1.1.1", "127.0.0.1"])), Err(Refused));
    }

    #[test]
    fn plain_http_is_for_the_neighbours_alone() {
        assert!(Reach::Public.allows_scheme("https") && !Reach::Public.allows_scheme("http"));
        assert!(Reach::Private.allows_scheme("http") && !Reach::Private.allows_scheme("ftp"));
    }
}
