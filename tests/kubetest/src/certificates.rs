//! The keys of one control plane: its authority, the servers' certificates, and one certificate for each user.
//!
//! A user's certificate is encoded here and not by `rcgen`, because Kubernetes reads a user's groups from as many
//! organization names as there are groups and `rcgen` knows a name of each kind once.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SigningKey,
};

use crate::Result;

const AUTHORITY: &str = "kubetest authority";

/// What a server of ours may be called: it listens on loopback; the names are those a pod would use.
const SERVER_NAMES: [&str; 6] =
    ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.0.0.1"];

// Object identifiers, as their encoded bytes.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority every program of one control plane trusts, and nothing outside does.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's own certificate and key; kube-controller-manager signs with them.
    pub(crate) fn identity(&self) -> Identity {
        Identity { certificate: self.issuer.pem(), key: self.issuer.key().serialize_pem() }
    }

    /// For a program that listens.
    pub(crate) fn server(&self, name: &str) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// For whoever calls: the user `name`, a member of `groups`.
    pub(crate) fn client(&self, name: &str, groups: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let to_sign = client_certificate(name, groups, &key);
        let signature = self.issuer.key().sign(&to_sign)?;
        let certificate = der(SEQUENCE, &[&to_sign, &algorithm(), &der(BIT_STRING, &[&[0], &signature])]);
        Ok(Identity { certificate: pem("CERTIFICATE", &certificate), key: key.serialize_pem() })
    }
}

/// A key pair that signs service account tokens: private and public half, as PEM.
pub(crate) fn signing_key() -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// The part of an X.509 certificate that is signed (RFC 5280, section 4.1).
fn client_certificate(name: &str, groups: &[&str], key: &KeyPair) -> Vec<u8> {
    let public_key = key.subject_public_key_info();
    // Any number will do that no other certificate of this authority has: the tail of a fresh key is one. A leading
    // one keeps it positive and in its shortest form.
    let mut serial = vec![1];
    serial.extend_from_slice(&public_key[public_key.len() - 15..]);
    let issuer = subject(&[(COMMON_NAME, AUTHORITY)]);
    // As wide as this form of time allows: a test must not fail because of the date.
    let validity = der(SEQUENCE, &[&der(UTC_TIME, &[b"700101000000Z"]), &der(UTC_TIME, &[b"491231235959Z"])]);
    let names: Vec<_> = groups.iter().map(|group| (ORGANIZATION, *group)).chain([(COMMON_NAME, name)]).collect();
    let usage = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[CLIENT_AUTH])]);
    let extension = der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[EXTENDED_KEY_USAGE]), &der(OCTET_STRING, &[&usage])]);
    der(
        SEQUENCE,
        &[
            &der(VERSION, &[&der(INTEGER, &[&[2]])]),
            &der(INTEGER, &[&serial]),
            &algorithm(),
            &issuer,
            &validity,
            &subject(&names),
            &public_key,
            &der(EXTENSIONS, &[&der(SEQUENCE, &[&extension])]),
        ],
    )
}

fn algorithm() -> Vec<u8> {
    der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[ECDSA_WITH_SHA256])])
}

fn subject(names: &[(&[u8], &str)]) -> Vec<u8> {
    let sets: Vec<_> = names
        .iter()
        .map(|(kind, name)| {
            let pair = [der(OBJECT_IDENTIFIER, &[kind]), der(UTF8_STRING, &[name.as_bytes()])].concat();
            der(SET, &[&der(SEQUENCE, &[&pair])])
        })
        .collect();
    der(SEQUENCE, &[&sets.concat()])
}

/// One value: its tag, its length, its parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        bytes.push(0x80 | digits.len() as u8);
        bytes.extend(digits);
    }
    bytes.extend(parts.concat());
    bytes
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(der(OCTET_STRING, &[&[7; 3]]), [OCTET_STRING, 3, 7, 7, 7]);
        assert_eq!(der(OCTET_STRING, &[&[7; 0x80]])[..3], [OCTET_STRING, 0x81, 0x80]);
        assert_eq!(der(OCTET_STRING, &[&[7; 0x1234]])[..4], [OCTET_STRING, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn each_user_has_a_serial_number_of_his_own() {
        let authority = Authority::new().unwrap();
        let first = authority.client("alice", &["artists", "testers"]).unwrap();
        let second = authority.client("alice", &["artists", "testers"]).unwrap();
        assert_ne!(first.certificate, second.certificate);
        assert!(first.certificate.starts_with("-----BEGIN CERTIFICATE-----\n"));
    }
}
