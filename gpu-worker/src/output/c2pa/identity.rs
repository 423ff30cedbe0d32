//! Whose signature the pictures carry: a key and certificates from files, or, where none are given, ones the worker made
//! for itself at its first start and kept.
//!
//! A self-made certificate proves that a picture has not been changed since, and by which installation it was made to
//! whoever has its root; no stranger trusts it. C2PA forbids self-signed certificates for signing, so there is a root,
//! whose key is thrown away once it has signed the one certificate below it.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use c2pa::SigningAlg;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The file in the worker's folder that holds key and certificate.
const OWN_FILE: &str = "identity.pem";
/// The file beside it for who wants to trust this installation.
const ROOT_FILE: &str = "root.pem";
/// Largest key or certificate file read, in bytes: a chain of certificates has a few KiB.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// A self-made certificate never runs out: nobody would renew it, and an end would only stop the marking.
const OWN_FROM: (i32, u8, u8) = (2025, 1, 1);
/// See [`OWN_FROM`].
const OWN_UNTIL: (i32, u8, u8) = (2125, 1, 1);

/// Why there is nobody to sign as.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what would be right.
        what: String,
    },
    /// A key and certificate that sign nothing a reader would accept.
    #[error(
        "the C2PA certificate cannot sign pictures ({why}); it must be in force, for this key, with the usage \
         digitalSignature and an extended usage such as emailProtection, and not self-signed"
    )]
    Unfit {
        /// The reader's own words.
        why: String,
    },
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Make(#[from] rcgen::Error),
}

/// A key and the certificates that vouch for it.
#[derive(Clone)]
pub struct Identity {
    key_pem: String,
    /// The signer's own certificate first, then whoever signed it, without the root.
    chain_pem: String,
    alg: SigningAlg,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity").field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a private key (PKCS#8 in PEM; ES256, ES384, PS256 or Ed25519 by its kind) and a certificate chain (PEM, the
    /// signer's own first).
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn from_files(key: &Path, chain: &Path) -> Result<Self, IdentityError> {
        let (key_pem, chain_pem) = (read(key)?, read(chain)?);
        if !chain_pem.contains("-----BEGIN CERTIFICATE-----") {
            let what = "holds no certificate in PEM; give the chain that was issued for the key".to_owned();
            return Err(IdentityError::Content { path: chain.to_owned(), what });
        }
        let alg = alg_of(&key_pem).map_err(|what| IdentityError::Content { path: key.to_owned(), what })?;
        Ok(Self { key_pem, chain_pem, alg })
    }

    /// The one kept in this folder; made and kept there when there is none. Workers that share the folder share it.
    ///
    /// # Errors
    /// A folder that cannot be written to, or a file that somebody has damaged.
    pub fn own(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(OWN_FILE);
        if !path.exists() {
            let made = Made::new()?;
            let write = |path: &Path| {
                let path = path.to_owned();
                move |source| IdentityError::Write { path, source }
            };
            std::fs::create_dir_all(folder).map_err(write(folder))?;
            keep(folder, OWN_FILE, &format!("{}{}{}", made.key, made.certificate, made.root)).map_err(write(&path))?;
        }
        // Read back: another worker may have been first.
        let text = read(&path)?;
        let broken = |what: &str| IdentityError::Content {
            path: path.clone(),
            what: format!("{what}; remove it and a new one is made at the next start"),
        };
        let blocks = pem_blocks(&text);
        let [key, certificate, root] = blocks.as_slice() else {
            return Err(broken("does not hold a key and two certificates"));
        };
        let alg = alg_of(key).map_err(|what| broken(&what))?;
        let root_path = folder.join(ROOT_FILE);
        if !root_path.exists() {
            keep(folder, ROOT_FILE, root).map_err(|source| IdentityError::Write { path: root_path, source })?;
        }
        Ok(Self { key_pem: key.clone(), chain_pem: certificate.clone(), alg })
    }

    /// One that lives as long as this process, for where nothing can be kept.
    ///
    /// # Errors
    /// No randomness to make a key from.
    pub fn passing() -> Result<Self, IdentityError> {
        let Made { key, certificate, root: _ } = Made::new()?;
        Ok(Self { key_pem: key, chain_pem: certificate, alg: SigningAlg::Es256 })
    }

    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    pub(super) fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The signature algorithm, by the kind of the key.
    pub fn alg(&self) -> SigningAlg {
        self.alg
    }
}

/// A key of our own and what vouches for it, all PEM.
struct Made {
    key: String,
    certificate: String,
    root: String,
}

impl Made {
    fn new() -> Result<Self, rcgen::Error> {
        let mut ca = params("Tintype self-made root");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let root = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let mut signer = params("Tintype worker");
        signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        signer.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        signer.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = signer.signed_by(&key, &root)?;
        Ok(Self { key: key.serialize_pem(), certificate: certificate.pem(), root: root.pem() })
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Tintype (self-made)");
    params.not_before = date_time_ymd(OWN_FROM.0, OWN_FROM.1, OWN_FROM.2);
    params.not_after = date_time_ymd(OWN_UNTIL.0, OWN_UNTIL.1, OWN_UNTIL.2);
    params
}

/// What a key signs with; in words for people, why it does not.
fn alg_of(key_pem: &str) -> Result<SigningAlg, String> {
    let key = KeyPair::from_pem(key_pem).map_err(|_| {
        "holds no private key in PKCS#8 PEM; `openssl pkcs8 -topk8 -nodes -in OLD -out NEW` makes one of another form"
            .to_owned()
    })?;
    let known = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, SigningAlg::Es256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, SigningAlg::Es384),
        (&rcgen::PKCS_ED25519, SigningAlg::Ed25519),
        (&rcgen::PKCS_RSA_SHA256, SigningAlg::Ps256),
    ];
    let found = known.into_iter().find(|(theirs, _)| *theirs == key.algorithm());
    found.map(|(_, ours)| ours).ok_or_else(|| "is a key of a kind C2PA does not take; use P-256 or Ed25519".to_owned())
}

/// Reads a file of text, a bounded part of it.
fn read(path: &Path) -> Result<String, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let what = format!("has {bytes} bytes; a key or certificate has at most {FILE_BYTES_MAX}");
        return Err(IdentityError::Content { path: path.to_owned(), what });
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Puts a file into a folder whole, readable for its owner alone; one that is there already stays.
fn keep(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = folder.join(format!(".{name}.{}", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&draft, folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    })();
    // What is left of a draft does no harm, and there is nothing to be done about it.
    let _left = std::fs::remove_file(&draft);
    written
}

/// The PEM blocks of a text, in order.
fn pem_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let Some(end) = rest[start..].find("-----END ") else { break };
        let tail = &rest[start + end..];
        let line = tail.find('\n').map_or(tail.len(), |at| at + 1);
        blocks.push(rest[start..start + end + line].to_owned());
        rest = &rest[start + end + line..];
    }
    blocks
}
