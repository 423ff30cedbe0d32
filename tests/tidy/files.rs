//! Rules a file must keep, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms whose `.rs` files must keep the rules.
const ROOMS: &[&str] = &["operator", "api", "gpu-worker", "provider", "cli", "crds", "crates", "fuzz", "tests"];
/// A file past this is two rooms.
const FILE_BYTES_MAX: usize = 24 * 1024;
/// Room, words its source must not hold, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "crates/scheduler/src",
        &["SystemTime::now", "Instant::now", "Uuid::new_v4", "HashMap", "HashSet", "async fn", ".await"],
        "the part that decides never waits and never asks for the time",
    ),
    (
        "crates/purchase/src",
        &["SystemTime::now", "Instant::now", "HashMap", "HashSet", "f32", "f64", "async fn", ".await"],
        "what is bought is decided by whole numbers that are handed in",
    ),
    ("api/src/price.rs", &["sqlx", "axum", ".await", "f32", "f64"], "pricing is arithmetic"),
    ("gpu-worker/src/samplers", &["candle", ".await", "Instant"], "samplers are pure maths on slices"),
];

#[test]
fn every_file_says_what_it_is_for() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no `//!` head: say what it is for and what it must not know",
            show(&file)
        );
    }
}

#[test]
fn no_file_has_grown_into_two_rooms() {
    for file in sources() {
        let bytes = fs::metadata(&file).unwrap().len() as usize;
        assert!(bytes <= FILE_BYTES_MAX, "{} has {bytes} bytes, more than {FILE_BYTES_MAX}: split it", show(&file));
    }
}

#[test]
fn rooms_do_not_use_what_they_must_not_know() {
    for (room, words, why) in FORBIDDEN {
        let mut files = Vec::new();
        collect(&root().join(room), &mut files);
        assert!(!files.is_empty(), "{room} is in the table but holds no source");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                for word in *words {
                    assert!(!line.contains(word), "{}:{}: `{word}` here, but {why}", show(&file), number + 1);
                }
            }
        }
    }
}

#[test]
fn the_ledger_knows_sql_in_one_file_only() {
    let mut files = Vec::new();
    collect(&root().join("api/src/ledger"), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("sql.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for word in ["sqlx", "axum", ".await"] {
            assert!(!text.contains(word), "{} says `{word}`: accounting is arithmetic", show(file));
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    // Spelled in two parts so that this file does not find itself.
    let words = [["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["#[ig", "nore"]].map(|parts| parts.concat());
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} still holds `{word}`", show(&file));
        }
    }
}

#[test]
fn every_decision_of_record_is_listed() {
    let adr = root().join("docs/adr");
    let index = fs::read_to_string(adr.join("README.md")).unwrap();
    for entry in fs::read_dir(&adr).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || index.contains(&name), "docs/adr/{name} is not in docs/adr/README.md");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn show(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for room in ROOMS {
        collect(&root().join(room), &mut files);
    }
    assert!(files.len() > 20, "the rooms were not found");
    files
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_path_buf());
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
