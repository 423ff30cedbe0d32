//! `tintype replay`: a decision log through the scheduler of this version, held against what was decided then.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tintype_dispatch::{Replayed, replay};

use crate::args::{OutputFormat, ReplayArgs};
use crate::terminal;

/// Runs the command; fails where a decision differs.
pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let mut same = true;
    for path in &args.logs {
        let began = Instant::now();
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let done = replay(BufReader::new(file)).with_context(|| format!("cannot replay {}", path.display()))?;
        same &= done.difference.is_none();
        tell(path, &done, began.elapsed().as_secs_f64(), args.output)?;
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(path: &Path, done: &Replayed, seconds: f64, form: OutputFormat) -> Result<()> {
    match form {
        OutputFormat::Table | OutputFormat::Wide => terminal::result(text(path, done, seconds)),
        OutputFormat::Json => terminal::result(serde_json::to_string(&data(path, done, seconds))?),
        OutputFormat::Yaml => terminal::result(serde_yaml_ng::to_string(&data(path, done, seconds))?),
    }
    Ok(())
}

fn data(path: &Path, done: &Replayed, seconds: f64) -> serde_json::Value {
    let difference = done.difference.as_ref();
    json!({
        "log": path, "steps": done.steps, "decisions": done.decisions, "decisionBytes": done.bytes,
        "firstMs": done.span.map(|(first, _)| first.0), "lastMs": done.span.map(|(_, last)| last.0),
        "same": difference.is_none(), "torn": done.torn, "seconds": seconds,
        "difference": difference.map(|it| json!({ "line": it.line, "logged": it.logged, "decided": it.decided })),
    })
}

fn text(path: &Path, done: &Replayed, seconds: f64) -> String {
    let decisions: u64 = done.decisions.values().sum();
    let kinds: Vec<_> = done.decisions.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut lines = vec![format!(
        "{}: {} facts, {decisions} decisions{} in {seconds:.2} s",
        path.display(),
        done.steps,
        if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) },
    )];
    match &done.difference {
        None => lines.push(format!("every decision is the same: {} bytes", done.bytes)),
        Some(it) => lines.extend([
            format!("line {} is decided otherwise; from where they part:", it.line),
            format!("  then {}", it.logged),
            format!("  now  {}", it.decided),
        ]),
    }
    if done.torn {
        lines.push("the log breaks off in the middle of its last line, which was left out".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tintype_dispatch::Difference;

    use super::*;

    #[test]
    fn what_parts_and_what_does_not_are_said() {
        let mut done =
            Replayed { steps: 3, bytes: 120, decisions: BTreeMap::from([("assign", 2)]), ..Replayed::default() };
        let said = text(Path::new("x.log"), &done, 0.5);
        assert_eq!(said, "x.log: 3 facts, 2 decisions (2 assign) in 0.50 s\nevery decision is the same: 120 bytes");
        done.difference = Some(Difference { line: 7, logged: "w1".to_owned(), decided: "w2".to_owned() });
        done.torn = true;
        let said = text(Path::new("x.log"), &done, 0.5);
        assert!(said.contains("line 7") && said.contains("then w1") && said.contains("now  w2"), "{said}");
        assert!(said.contains("breaks off"));
        assert_eq!(data(Path::new("x.log"), &done, 0.5)["same"], false);
    }
}
