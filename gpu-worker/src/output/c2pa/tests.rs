//! Marked pictures as a reader of content credentials sees them.

use std::io::Cursor;

use c2pa::{Context, Reader, SigningAlg, ValidationState};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tintype_types::{FailureReason, GenerationRequest, ImageFormat, ModelDefaults, ResolvedRequest, Sampler};

use super::*;
use crate::output::{PublishError, encode};

#[test]
fn a_marked_picture_is_valid_names_its_maker_and_keeps_its_pixels() {
    let marker = Marker::new(&Identity::passing().unwrap()).unwrap();
    for format in ImageFormat::ALL {
        let plain = encode(&picture(), &request(format), 1).unwrap();
        let marked = marker.mark(&plain, format).unwrap();
        let reader = read(&marked, format);
        assert_eq!(reader.validation_state(), ValidationState::Valid, "{format:?}: {:?}", codes(&reader));
        assert_eq!(codes(&reader), ["signingCredential.untrusted"], "{format:?}");
        let manifest = reader.active_manifest().unwrap();
        let info = &manifest.claim_generator_info.as_ref().unwrap()[0];
        assert_eq!((info.name.as_str(), info.version.as_deref()), ("Tintype", Some(env!("CARGO_PKG_VERSION"))));
        let actions: serde_json::Value = manifest.find_assertion("c2pa.actions.v2").unwrap();
        let action = &actions["actions"][0];
        assert_eq!(action["action"], "c2pa.created");
        assert_eq!(action["digitalSourceType"], TRAINED_ALGORITHMIC_MEDIA);
        if format == ImageFormat::Png {
            assert_eq!(pixels(&marked), picture().pixels);
        }
    }
}

#[test]
fn a_change_to_a_pixel_or_to_the_settings_shows() {
    let marker = Marker::new(&Identity::passing().unwrap()).unwrap();
    for format in ImageFormat::ALL {
        let marked = marker.mark(&encode(&picture(), &request(format), 1).unwrap(), format).unwrap();
        // The last bytes of pixels, and a letter of the prompt, which the settings hold as ASCII and as UTF-16.
        let zebra = marked.windows(5).position(|window| window == b"zebra").unwrap();
        let pixel = match format {
            ImageFormat::Png => find(&marked, b"IDAT") + 12,
            ImageFormat::Webp => find(&marked, b"VP8L") + 16,
            ImageFormat::Jpeg => marked.len() - 4,
        };
        for at in [zebra, pixel] {
            let mut changed = marked.clone();
            changed[at] ^= 1;
            let reader = read(&changed, format);
            assert_eq!(reader.validation_state(), ValidationState::Invalid, "{format:?} at {at}");
            assert!(codes(&reader).contains(&"assertion.dataHash.mismatch".to_owned()), "{:?}", codes(&reader));
        }
    }
}

#[test]
fn who_holds_the_root_trusts_what_its_worker_signed() {
    let folder = tempfile::tempdir().unwrap();
    let marker = Marker::new(&Identity::own(folder.path()).unwrap()).unwrap();
    let marked = marker.mark(&encode(&picture(), &request(ImageFormat::Png), 1).unwrap(), ImageFormat::Png).unwrap();
    for (root, state) in [
        (std::fs::read_to_string(folder.path().join("root.pem")).unwrap(), ValidationState::Trusted),
        (authority().pem(), ValidationState::Valid),
    ] {
        let settings = json!({ "trust": { "user_anchors": root } }).to_string();
        let context = Context::new().with_settings(settings.as_str()).unwrap();
        let reader = Reader::from_context(context).with_stream("image/png", Cursor::new(&marked)).unwrap();
        assert_eq!(reader.validation_state(), state);
    }
}

#[test]
fn a_key_from_files_signs_by_its_kind() {
    let kinds = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, SigningAlg::Es256),
        (&PKCS_ECDSA_P384_SHA384, SigningAlg::Es384),
        (&PKCS_ED25519, SigningAlg::Ed25519),
    ];
    for (kind, alg) in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = leaf().signed_by(&key, &authority()).unwrap();
        let files = Files::new(&key.serialize_pem(), &certificate.pem());
        let marker = Marker::new(&files.identity().unwrap()).unwrap();
        assert_eq!(marker.alg(), alg);
        let marked = marker.mark(&encode(&picture(), &request(ImageFormat::Jpeg), 1).unwrap(), ImageFormat::Jpeg);
        assert_eq!(read(&marked.unwrap(), ImageFormat::Jpeg).validation_state(), ValidationState::Valid);
    }
}

#[test]
fn what_cannot_sign_is_told_at_the_start() {
    let key = KeyPair::generate().unwrap();
    let good = leaf().signed_by(&key, &authority()).unwrap().pem();
    let mut ended = leaf();
    ended.not_after = rcgen::date_time_ymd(2020, 1, 1);
    ended.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let mut for_servers = leaf();
    for_servers.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let mut own = leaf();
    own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let by = |params: rcgen::CertificateParams| params.signed_by(&key, &authority()).unwrap().pem();
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    for (name, key_pem, chain) in [
        ("run out", key.serialize_pem(), by(ended)),
        ("for servers", key.serialize_pem(), by(for_servers)),
        ("self-signed", key.serialize_pem(), own.self_signed(&key).unwrap().pem()),
        ("of another key", other_key, good.clone()),
    ] {
        let identity = Files::new(&key_pem, &chain).identity().unwrap();
        let error = Marker::new(&identity).unwrap_err();
        assert!(matches!(error, IdentityError::Unfit { .. }), "a certificate {name}: {error:?}");
    }
    for (key_pem, chain, said) in
        [("nonsense", good.as_str(), "openssl pkcs8"), (key.serialize_pem().as_str(), "nonsense", "no certificate")]
    {
        let error = Files::new(key_pem, chain).identity().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert!(matches!(Identity::from_files("/nowhere".as_ref(), "/nowhere".as_ref()), Err(IdentityError::Read { .. })));
}

#[test]
fn what_cannot_be_signed_does_not_come_out() {
    let marker = Marker::new(&Identity::passing().unwrap()).unwrap();
    for format in ImageFormat::ALL {
        let error = marker.mark(b"no picture at all", format).unwrap_err();
        assert_eq!(PublishError::from(error).reason(), (FailureReason::Internal, true), "{format:?}");
    }
}

#[test]
fn a_self_made_key_is_kept_for_its_owner_alone_and_used_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a/b");
    let first = Identity::own(&place).unwrap();
    let again = Identity::own(&place).unwrap();
    assert_eq!((first.key_pem(), first.chain_pem()), (again.key_pem(), again.chain_pem()));
    let file = place.join("identity.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{first:?}").contains("PRIVATE"), "a key shows in its debug form");
    let names: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    std::fs::write(&file, "torn").unwrap();
    assert!(Identity::own(&place).unwrap_err().to_string().contains("remove it"));
    std::fs::write(folder.path().join("taken"), "").unwrap();
    assert!(matches!(Identity::own(&folder.path().join("taken/x")), Err(IdentityError::Write { .. })));
}

struct Files(tempfile::TempDir);

impl Files {
    fn new(key: &str, chain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), key).unwrap();
        std::fs::write(folder.path().join("chain"), chain).unwrap();
        Self(folder)
    }

    fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_files(&self.0.path().join("key"), &self.0.path().join("chain"))
    }
}

fn read(file: &[u8], format: ImageFormat) -> Reader {
    Reader::from_context(Context::new()).with_stream(format.media_type(), Cursor::new(file)).unwrap()
}

fn codes(reader: &Reader) -> Vec<String> {
    reader.validation_status().unwrap_or_default().iter().map(|status| status.code().to_owned()).collect()
}

fn find(file: &[u8], word: &[u8]) -> usize {
    file.windows(word.len()).position(|window| window == word).unwrap()
}

fn pixels(file: &[u8]) -> Vec<u8> {
    let mut reader = ::png::Decoder::new(Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

/// A certificate authority as a company would have one.
fn authority() -> rcgen::CertifiedIssuer<'static, KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf() -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test signer");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Test");
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection];
    params.use_authority_key_identifier_extension = true;
    params
}

fn picture() -> RgbImage {
    RgbImage { width: 16, height: 8, pixels: (0..16 * 8 * 3).map(|value| (value % 251) as u8).collect() }
}

fn request(format: ImageFormat) -> ResolvedRequest {
    let defaults = ModelDefaults { width: 16, height: 8, steps: 20, guidance_scale: 3.0, sampler: Sampler::Ddim };
    let mut request = GenerationRequest::new("tintype/shapes", "a zebra");
    request.format = Some(format);
    request.resolve(&defaults, 40)
}
