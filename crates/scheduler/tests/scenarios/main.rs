//! Golden scenarios: each `tests/scenarios/*.txt` is a script in words, its `.out` the transcript of what the scheduler
//! answered. A change of behaviour is a diff of a transcript. `UPDATE=1` writes them anew.

mod record;
mod script;
mod tell;

use std::path::{Path, PathBuf};

/// Every rule has a scenario; fewer than this means some were lost.
const SCENARIOS_MIN: usize = 15;

#[test]
fn every_scenario_answers_as_its_transcript_says() {
    let scripts = scripts();
    assert!(scripts.len() >= SCENARIOS_MIN, "only {} scenarios were found", scripts.len());
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        let transcript = script::run(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let golden = path.with_extension("out");
        if update {
            std::fs::write(&golden, &transcript).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != transcript {
            wrong.push(format!("--- {}\n{}", golden.display(), first_difference(&expected, &transcript)));
        }
    }
    assert!(wrong.is_empty(), "transcripts differ; if that is meant, run again with UPDATE=1\n{}", wrong.join("\n"));
}

#[test]
fn a_transcript_without_its_script_is_an_error() {
    for path in files("out") {
        assert!(path.with_extension("txt").exists(), "{} has no script; delete it", path.display());
    }
}

#[test]
fn a_line_nobody_understands_names_itself() {
    let error = script::run("model m\njob a\nfeed the cat\n").unwrap_err();
    assert_eq!(error, "line 3: cannot read \"feed the cat\": no such line as \"feed\"");
}

fn scripts() -> Vec<PathBuf> {
    files("txt")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let entries = std::fs::read_dir(folder)
        .expect("the scenarios are beside this crate")
        .map_while(Result::ok)
        .map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    found
}

fn first_difference(expected: &str, found: &str) -> String {
    let pairs = expected.lines().zip(found.lines()).enumerate();
    for (number, (old, new)) in pairs {
        if old != new {
            return format!("line {}:\n  was {old}\n  is  {new}", number + 1);
        }
    }
    format!("it had {} lines and has {}", expected.lines().count(), found.lines().count())
}
