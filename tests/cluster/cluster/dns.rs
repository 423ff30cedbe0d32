//! The cluster's DNS: names of Services, as the API server has them at that moment. It answers what a pod asks to reach a
//! Service (RFC 1035, one question, type A) and denies the rest.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::net::UdpSocket;

/// Longest question over UDP.
const QUESTION_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
/// A response, authoritative, recursion not available; with this, no such name.
const ANSWER: u16 = 0x8400;
const NO_SUCH_NAME: u16 = 3;
/// Seconds an answer may be kept: a release that is installed again has another address.
const TTL_SECONDS: u32 = 1;

/// Answers for ever.
pub(crate) async fn serve(client: Client, at: Ipv4Addr) {
    let socket = UdpSocket::bind((at, 53)).await.unwrap();
    let mut question = [0; QUESTION_BYTES_MAX];
    loop {
        let (length, from) = socket.recv_from(&mut question).await.unwrap();
        if let Some(asked) = Asked::read(&question[..length]) {
            let found = find(&client, &asked.labels).await;
            // Who asked may be gone; he asks again if he is not.
            drop(socket.send_to(&asked.answer(found), from).await);
        }
    }
}

struct Asked<'a> {
    id: &'a [u8],
    question: &'a [u8],
    labels: Vec<String>,
    kind: u16,
}

impl<'a> Asked<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let (mut labels, mut at) = (Vec::new(), HEADER_BYTES);
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
        Some(Self { id: packet.get(..2)?, question: packet.get(HEADER_BYTES..at + 4)?, labels, kind })
    }

    fn answer(&self, found: Option<Ipv4Addr>) -> Vec<u8> {
        let address = found.filter(|_| self.kind == TYPE_A);
        // A name that exists and has no address of this type is not a name that does not exist.
        let code = if found.is_some() { ANSWER } else { ANSWER | NO_SUCH_NAME };
        let counts = [1, u16::from(address.is_some()), 0, 0];
        let mut packet = self.id.to_vec();
        packet.extend(code.to_be_bytes());
        packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        packet.extend(self.question);
        if let Some(address) = address {
            packet.extend([0xc0, HEADER_BYTES as u8, 0, 1, 0, 1]);
            packet.extend(TTL_SECONDS.to_be_bytes());
            packet.extend([0, 4]);
            packet.extend(address.octets());
        }
        packet
    }
}

/// The address of `<service>.<namespace>.svc` and of that with the cluster's domain.
async fn find(client: &Client, labels: &[String]) -> Option<Ipv4Addr> {
    let [name, namespace, svc, domain @ ..] = labels else { return None };
    if svc != "svc" || !(domain.is_empty() || domain == ["cluster", "local"]) {
        return None;
    }
    let service = Api::<Service>::namespaced(client.clone(), namespace).get_opt(name).await.ok()??;
    service.spec?.cluster_ip?.parse().ok()
}
