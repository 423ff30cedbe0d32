//! The images: a valid OCI layout, the same bytes each time, nothing in them but what they need, and programs that start.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tintype_cluster::build_images;

const PROGRAMS: [&str; 4] = ["operator", "api", "gpu-worker", "database"];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The user the chart runs every pod as.
const USER: &str = "65532:65532";

/// The layout all tests look at.
fn layout() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        build_images(&out, &["--tag", "test"]).unwrap();
        out
    })
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The blob a descriptor names, once size and digest are what it says.
fn blob(descriptor: &Value, media_type: &str) -> Vec<u8> {
    assert_eq!(descriptor["mediaType"], media_type, "{descriptor}");
    let named = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(layout().join("blobs/sha256").join(named.strip_prefix("sha256:").unwrap())).unwrap();
    assert_eq!(descriptor["size"], bytes.len(), "{descriptor}");
    assert_eq!(digest(&bytes), named);
    bytes
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(layer).read_to_end(&mut plain).unwrap();
    plain
}

/// Name, config and plain layers of each image.
fn images() -> BTreeMap<String, (Value, Vec<Vec<u8>>)> {
    let index = json(&fs::read(layout().join("index.json")).unwrap());
    assert_eq!(index["mediaType"], INDEX);
    let listed = index["manifests"].as_array().unwrap().iter().map(|listed| {
        let manifest = json(&blob(listed, MANIFEST));
        let config = json(&blob(&manifest["config"], CONFIG));
        let packed = manifest["layers"].as_array().unwrap();
        let layers: Vec<_> = packed.iter().map(|layer| unpacked(&blob(layer, LAYER))).collect();
        let plain: Vec<_> = layers.iter().map(|layer| Value::from(digest(layer))).collect();
        assert_eq!(config["rootfs"]["diff_ids"], Value::from(plain));
        let name = listed["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        (name.to_owned(), (config, layers))
    });
    listed.collect()
}

#[test]
fn the_layout_is_one_every_registry_takes() {
    assert_eq!(json(&fs::read(layout().join("oci-layout")).unwrap())["imageLayoutVersion"], "1.0.0");
    let images = images();
    let named: Vec<_> = images.keys().map(String::as_str).collect();
    assert_eq!(
        named,
        ["tintype/api:test", "tintype/database:test", "tintype/gpu-worker:test", "tintype/operator:test"]
    );
    for (name, (config, _)) in &images {
        let program = name.split(['/', ':']).nth(1).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], format!("/usr/bin/{program}"));
        assert_eq!(config["config"]["User"], USER, "{name} runs as somebody else");
        assert_eq!(config["os"], "linux");
    }
    let named: BTreeSet<_> = images.values().flat_map(|(_, layers)| layers.iter().map(|layer| digest(layer))).collect();
    assert_eq!(named.len(), 7, "a base they share, four programs, the models, PostgreSQL");
    let blobs = fs::read_dir(layout().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 7 + 4 + 4, "every blob is one of a layer, a config, a manifest");
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("again");
    build_images(&again, &["--tag", "test"]).unwrap();
    let read = |folder: &Path| fs::read_to_string(folder.join("index.json")).unwrap();
    assert_eq!(read(layout()), read(&again));
}

/// The files of an image on disk, as a container would see them.
fn root_of(program: &str, folder: &Path) {
    let (_, layers) = images().remove(&format!("tintype/{program}:test")).unwrap();
    for (number, layer) in layers.iter().enumerate() {
        let file = folder.with_extension(format!("{number}.tar"));
        fs::write(&file, layer).unwrap();
        let tar = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(folder).output().unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    }
}

/// Runs a program of the image with nothing but the image, as the chart's user; in namespaces of its own.
fn run(root: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "chroot"])
        .arg(root)
        .arg(format!("/usr/bin/{program}"))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap()
}

/// Why no program can be shut into a folder here, if it cannot.
fn no_chroot() -> Option<String> {
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "--net", "chroot", "/", "true"]).output();
    match tried {
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[test]
fn the_programs_start_with_nothing_but_what_is_in_the_image() {
    if let Some(reason) = no_chroot() {
        eprintln!("SKIPPED the_programs_start_with_nothing_but_what_is_in_the_image: {reason}");
        return;
    }
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        root_of(program, &root);
        let output = run(&root, program, &["--version"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = env!("CARGO_PKG_VERSION");
        assert!(said.contains(version), "{program}: {said}{}", String::from_utf8_lossy(&output.stderr));
        // PostgreSQL's initdb starts the server by way of a shell.
        let shells = ["bin/sh", "usr/bin/sh"].into_iter().filter(|_| program != "database");
        for absent in shells.chain(["usr/bin/perl", "usr/bin/dpkg", "usr/bin/apt-get", "root", "home"]) {
            assert!(!root.join(absent).exists(), "{program} carries /{absent}, and nobody needs it");
        }
        let trusted = fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
        assert!(trusted.matches("BEGIN CERTIFICATE").count() > 50, "{program} trusts too few authorities");
        assert_eq!(root.join("usr/share/tintype/models/shapes/model_index.json").exists(), program == "gpu-worker");
    }
}

#[test]
fn a_program_that_was_not_built_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = tintype_cluster::root().join("scripts/images.py");
    let output = Command::new("python3")
        .arg(script)
        .args(["--out".as_ref(), folder.path().join("out").as_os_str()])
        .args(["--programs".as_ref(), folder.path().as_os_str()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("operator is missing: build the programs first"));
}
