//! What the walk finds in each layout, what it calls it, and what it says of the rest.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tintype_catalogue::{Catalogue, Layout};
use tintype_types::{ModelFamily, ModelKind};

const SD: &str = r#"{"_class_name": "StableDiffusionPipeline"}"#;
const CONTROLNET: &str = r#"{"_class_name": "ControlNetModel", "cross_attention_dim": 768}"#;
const DEFAULTS: &str = r#""defaults":{"width":64,"height":64,"steps":20,"guidanceScale":3.0,"sampler":"euler"}"#;

#[test]
fn the_models_that_ship_are_found() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let found = Catalogue::scan(std::slice::from_ref(&models));
    assert_eq!(found.refused, []);
    assert_eq!(found.names(ModelKind::Checkpoint), ["tintype/shapes", "tintype/shapes-xl"]);
    assert_eq!(found.names(ModelKind::Lora), ["tintype/night", "tintype/night-kohya"]);
    assert_eq!(found.names(ModelKind::Controlnet), ["tintype/shapes-control"]);
    let night = found.find(ModelKind::Lora, "tintype/night").unwrap();
    assert_eq!((night.layout, night.card.family), (Layout::File, ModelFamily::Sd15));
    assert_eq!(night.path, models.join("shapes-night/pytorch_lora_weights.safetensors"));
    assert_eq!(night.digests[&night.path].len(), 64);
    assert_eq!(found.checkpoint("tintype/night"), None);
    assert_eq!(found.checkpoint("tintype/shapes").unwrap().card.defaults.width, 64);
}

#[test]
fn folders_and_files_are_named_by_card_or_by_place() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    put(&at("foo/model_index.json"), SD);
    put(&at("a/b/model_index.json"), SD);
    put(&at(".hidden/c/model_index.json"), SD);
    put(&at("control/config.json"), CONTROLNET);
    put(&at("two/model_index.json"), SD);
    put(&at("two/unet/config.json"), r#"{"cross_attention_dim": 1024}"#);
    safetensors(&at("loras/ink.safetensors"), &[("lora_unet_x_attn2_to_k.lora_down.weight", &[4, 768])]);
    safetensors(&at("loras/glow.safetensors"), &[("unet.x.attn2.to_k.lora_A.weight", &[4, 2048])]);
    put(&at("loras/glow.tintype.json"), &format!(r#"{{"name":"my/glow","kind":"lora","family":"sdxl",{DEFAULTS}}}"#));
    safetensors(&at("alone/x.safetensors"), &[("lora_unet_x_attn2_to_k.lora_down.weight", &[4, 768])]);
    let found = Catalogue::scan(&[root.path().to_owned()]);
    assert_eq!(found.refused, []);
    assert_eq!(found.names(ModelKind::Checkpoint), ["a/b", "foo", "two"]);
    assert_eq!(found.names(ModelKind::Lora), ["alone", "loras/ink", "my/glow"]);
    assert_eq!(found.names(ModelKind::Controlnet), ["control"]);
    assert_eq!(found.checkpoint("two").unwrap().card.family, ModelFamily::Sd2);
    assert_eq!(found.checkpoint("foo").unwrap().card.defaults.width, 512);
    assert_eq!(Catalogue::scan(&[at("foo")]).names(ModelKind::Checkpoint), ["foo"], "a directory that is a model");
}

#[test]
fn a_card_alone_may_say_where_its_file_is() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    let card =
        |name: &str, more: &str| format!(r#"{{"name":"{name}","kind":"lora","family":"sd15",{more}{DEFAULTS}}}"#);
    let (url, digest) = (r#""source":"https://host/x","#, format!(r#""sha256":"{}","#, "AB".repeat(32)));
    put(&at("far.tintype.json"), &card("far", &format!("{url}{digest}")));
    put(&at("near.tintype.json"), &card("near", &format!("{url}{digest}")));
    safetensors(&at("near.safetensors"), &[("lora_unet_x_attn2_to_k.lora_down.weight", &[4, 768])]);
    put(&at("nowhere.tintype.json"), &card("nowhere", ""));
    put(&at("unhashed.tintype.json"), &card("unhashed", url));
    put(&at("local.tintype.json"), &card("local", &format!(r#""source":"file:///etc/passwd",{digest}"#)));
    let found = Catalogue::scan(&[root.path().to_owned()]);
    assert_eq!(found.names(ModelKind::Lora), ["far", "near"]);
    let refused: Vec<&str> = found.refused.iter().map(|refused| refused.what.as_str()).collect();
    assert!(refused.len() == 2 && refused[0].contains("no http") && refused[1].contains("sha256"), "{refused:?}");
    let entry = |found: &Catalogue, name: &str| found.find(ModelKind::Lora, name).cloned();
    assert_eq!(entry(&found, "near").unwrap().source, None);
    let source = entry(&found, "far").unwrap().source.unwrap();
    let files = source.files_in(Path::new("/cache"));
    assert_eq!((files[0].0.url.as_str(), files[0].0.sha256.as_str()), ("https://host/x", "ab".repeat(32).as_str()));
    let cached = found.clone().cached_in(Some(Path::new("/cache")));
    let file = format!("/cache/{}.safetensors", "ab".repeat(32));
    assert_eq!(entry(&cached, "far").unwrap().path, Path::new(&file));
    assert_eq!(entry(&cached, "near"), entry(&found, "near"));
    let without = found.clone().cached_in(None);
    assert_eq!((entry(&without, "far"), entry(&without, "near").is_some()), (None, true));
}

#[test]
fn a_card_alone_may_say_where_each_file_of_a_folder_is() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    let card = |name: &str, kind: &str, sources: &str, digests: &str| {
        let text = format!(
            r#"{{"name":"{name}","kind":"{kind}","family":"sd15","source":{sources},"sha256":{digests},{DEFAULTS}}}"#
        );
        put(&at(&format!("{name}.tintype.json")), &text);
    };
    let digest = |byte: &str| byte.repeat(32);
    let digests = format!(r#"{{"config.json":"{}","w.safetensors":"{}"}}"#, digest("AB"), digest("cd"));
    let urls = r#"{"config.json":"https://host/c","w.safetensors":"http://host/w"}"#;
    card("edges", "controlnet", urls, &digests);
    card("same", "controlnet", urls, &digests);
    card("other", "controlnet", urls, &digests.replace("cd", "ce"));
    card("whole", "checkpoint", r#"{"model_index.json":"https://host/i","unet/c.json":"https://host/u"}"#, &{
        format!(r#"{{"model_index.json":"{}","unet/c.json":"{}"}}"#, digest("01"), digest("02"))
    });
    let wrong = [
        ("a", "controlnet", r#""https://host/c""#, format!("\"{}\"", digest("ab")), "two files"),
        ("b", "controlnet", r#"{"w.safetensors":"https://host/c"}"#, digests.clone(), "config.json"),
        ("c", "checkpoint", urls, digests.clone(), "model_index.json"),
        ("d", "lora", urls, digests.clone(), "which is one"),
        ("e", "controlnet", r#"{"config.json":"https://host/c","x":"https://host/x"}"#, digests.clone(), "x without"),
        ("f", "controlnet", urls, format!("\"{}\"", digest("ab")), "one sha256 for many"),
        ("g", "controlnet", r#"{"../x":"https://h/x"}"#, format!(r#"{{"../x":"{}"}}"#, digest("ab")), "none"),
        ("h", "controlnet", r#"{"":"https://h/x"}"#, format!(r#"{{"":"{}"}}"#, digest("ab")), "without a name"),
        ("i", "controlnet", r#"{"config.json":"ftp://h/x"}"#, digests.clone(), "no http"),
    ];
    for (name, kind, sources, digests, _) in &wrong {
        card(name, kind, sources, digests);
    }
    let found = Catalogue::scan(&[root.path().to_owned()]);
    assert_eq!(found.names(ModelKind::Controlnet), ["edges", "other", "same"]);
    assert_eq!(found.names(ModelKind::Checkpoint), ["whole"]);
    let refused: Vec<&str> = found.refused.iter().map(|refused| refused.what.as_str()).collect();
    assert_eq!(refused.len(), wrong.len(), "{refused:?}");
    for ((name, .., said), what) in wrong.iter().zip(&refused) {
        assert!(what.contains(said), "{name}: {what}");
    }
    let cached = found.cached_in(Some(Path::new("/cache")));
    let entry = |kind, name: &str| cached.find(kind, name).cloned().unwrap();
    let edges = entry(ModelKind::Controlnet, "edges");
    assert_eq!((edges.layout, edges.path.parent()), (Layout::Folder, Some(Path::new("/cache"))));
    let source = edges.source.unwrap();
    let files: Vec<(&str, PathBuf)> =
        source.files_in(Path::new("/cache")).into_iter().map(|(file, place)| (file.url.as_str(), place)).collect();
    let place = |name: &str| edges.path.join(name);
    assert_eq!(files, [("https://host/c", place("config.json")), ("http://host/w", place("w.safetensors"))]);
    assert_eq!(entry(ModelKind::Controlnet, "same").path, edges.path, "the same files are fetched once");
    assert_ne!(entry(ModelKind::Controlnet, "other").path, edges.path, "other files are another model");
    let whole = entry(ModelKind::Checkpoint, "whole");
    assert!(whole.source.unwrap().files_in(Path::new("/cache"))[1].1.ends_with("unet/c.json"));
}

#[test]
fn a_hub_cache_is_read_where_it_lies() {
    let root = tempfile::tempdir().unwrap();
    let hub = root.path().join("models--owner--name");
    for revision in ["aaa", "bbb"] {
        put(&hub.join("blobs").join(revision), SD);
        let snapshot = hub.join("snapshots").join(revision);
        fs::create_dir_all(&snapshot).unwrap();
        symlink(format!("../../blobs/{revision}"), snapshot.join("model_index.json")).unwrap();
    }
    let scan = || Catalogue::scan(&[root.path().to_owned()]);
    assert!(scan().refused[0].what.contains("many revisions"));
    put(&hub.join("refs/main"), "bbb\n");
    let found = scan();
    assert_eq!(found.checkpoint("owner/name").unwrap().path, hub.join("snapshots/bbb"));
    for (reference, said) in [("ccc", "not there"), ("../aaa", "does not name"), ("", "does not name")] {
        put(&hub.join("refs/main"), reference);
        let found = scan();
        assert!(found.refused[0].what.contains(said), "{reference}: {}", found.refused[0]);
    }
}

#[test]
fn what_cannot_be_used_is_said_and_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    put(&at("good/model_index.json"), SD);
    put(&at("flux/model_index.json"), r#"{"_class_name": "FluxPipeline"}"#);
    put(&at("torn/model_index.json"), r#"{"_class"#);
    put(&at("liar/model_index.json"), SD);
    put(&at("liar/tintype.json"), &format!(r#"{{"name":"liar","kind":"lora","family":"sd15",{DEFAULTS}}}"#));
    let digest = |text: &str| format!(r#"{{"name":"sums","family":"sd15",{DEFAULTS},"sha256":{text}}}"#);
    put(&at("sums/model_index.json"), SD);
    put(&at("junk.safetensors"), "no header");
    safetensors(&at("vae.safetensors"), &[("decoder.conv_in.weight", &[4])]);
    for (sum, said) in [
        (r#"{"../../etc/passwd":"00"}"#, "sha256 that is none"),
        (r#"{"x":"123"}"#, "sha256 that is none"),
        (r#""00""#, "one sha256 for many"),
    ] {
        put(&at("sums/tintype.json"), &digest(sum));
        let found = Catalogue::scan(&[root.path().to_owned(), at("nowhere")]);
        assert_eq!(found.names(ModelKind::Checkpoint), ["good"]);
        let all = found.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let each = ["FluxPipeline", "torn", "says it is a Lora", "junk", "neither", "nowhere", said];
        assert!(each.iter().all(|said| all.contains(said)), "{all}");
        assert_eq!(found.refused.len(), 7, "{all}");
    }
}

#[test]
fn a_header_is_read_again_only_when_its_file_changes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.safetensors");
    let directories = [root.path().to_owned()];
    safetensors(&path, &[("lora_unet_x_attn2_to_k.lora_down.weight", &[4, 768])]);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let first = Catalogue::scan(&directories);
    assert_eq!(first.names(ModelKind::Lora), ["x"]);
    // As long and as old as before, it is taken for the same file; another time tells.
    let length = fs::metadata(&path).unwrap().len() as usize;
    fs::write(&path, "x".repeat(length)).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(first.rescan(&directories), first);
    file.set_modified(modified + std::time::Duration::from_secs(1)).unwrap();
    assert_eq!(first.rescan(&directories).names(ModelKind::Lora), Vec::<String>::new());
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A header alone: the walk reads no further.
fn safetensors(path: &PathBuf, tensors: &[(&str, &[u64])]) {
    let line = |(name, shape): &(&str, &[u64])| {
        format!(r#""{name}":{{"dtype":"F16","shape":{shape:?},"data_offsets":[0,0]}}"#)
    };
    let header = format!("{{{}}}", tensors.iter().map(line).collect::<Vec<_>>().join(","));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes()].concat()).unwrap();
}
