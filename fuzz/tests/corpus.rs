//! Every input that was ever kept, tried on its target: the corpus the fuzzer starts from, and what once broke.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};

use tintype_fuzz::TARGETS;

/// All of the corpora together, so that the checkout stays small.
const CORPORA_BYTES_MAX: u64 = 200 << 10;

#[test]
fn every_input_kept_does_what_was_promised() {
    for target in TARGETS {
        let mut tried = 0;
        for file in inputs("corpus", target.name).chain(inputs("regressions", target.name)) {
            // Should it break, this names the input.
            let said = file.display().to_string();
            let bytes = std::fs::read(&file).unwrap();
            assert!(bytes.len() <= target.bytes_max, "{said} is longer than the fuzzer would make it");
            let run = target.run;
            std::panic::catch_unwind(move || run(&bytes)).unwrap_or_else(|_| panic!("{said} breaks {}", target.name));
            tried += 1;
        }
        assert!(tried >= 5, "{} has a corpus of {tried}", target.name);
    }
}

#[test]
fn the_corpora_are_small_and_each_has_its_target() {
    let mut bytes = 0;
    for kept in ["corpus", "regressions"] {
        for folder in entries(&root().join(kept)) {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(tintype_fuzz::find(&name).is_some(), "{kept}/{name} is no target's");
            bytes += entries(&folder).map(|file| file.metadata().unwrap().len()).sum::<u64>();
        }
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "the corpora have {bytes} bytes; merge them by scripts/fuzz.sh --merge");
}

fn inputs(kept: &str, target: &str) -> impl Iterator<Item = PathBuf> {
    entries(&root().join(kept).join(target))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
