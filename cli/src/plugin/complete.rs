//! Completion: kubectl asks a program called `kubectl_complete-NAME` in the PATH for the words that fit, in the form of the
//! Cobra library: one a line, and last a directive (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>).

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory as _;

use super::args::PluginArgs;
use crate::args::KubectlArgs;
use crate::kubectl::{JOBS, Kubectl};
use crate::terminal;

/// The program.
const SCRIPT: &str = "#!/bin/sh\nexec kubectl tintype __complete -- \"$@\"";
/// Cobra's directive that files are no words that fit.
const NO_FILES: &str = ":4";

/// Prints the program that is to be put into the PATH.
pub(super) fn script() -> ExitCode {
    terminal::result(SCRIPT);
    ExitCode::SUCCESS
}

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Command,
    Flag,
    Job,
    Worker,
    Model,
    Nothing,
}

/// Prints the words that fit.
pub(super) async fn run(words: &[String]) -> Result<ExitCode> {
    let typed = words.last().map_or("", String::as_str);
    let named = Kubectl::new(&KubectlArgs { namespace: namespace(words), ..KubectlArgs::default() });
    let found = match wanted(words) {
        Wanted::Command => commands(),
        Wanted::Flag => flags(words.first().map_or("", String::as_str)),
        // Without a cluster nothing fits, and a completion is no place to complain.
        Wanted::Job => named.here(&["get", JOBS, "-o", NAMES]).await.map(|told| lines(&told)).unwrap_or_default(),
        Wanted::Worker => {
            let words =
                ["get", "gpuworkers.tintype.dev", "-A", "-o", "jsonpath={range .items[*]}{.spec.worker}{\"\\n\"}{end}"];
            named.call(&words).await.map(|told| lines(&told)).unwrap_or_default()
        }
        Wanted::Model => {
            let words = [
                "get",
                "diffusionmodels.tintype.dev",
                "-o",
                "jsonpath={range .items[*]}{.spec.modelName}{\"\\n\"}{end}",
            ];
            named.call(&words).await.map(|told| lines(&told)).unwrap_or_default()
        }
        Wanted::Nothing => Vec::new(),
    };
    for word in found.iter().filter(|word| word.starts_with(typed)) {
        terminal::result(word);
    }
    terminal::result(NO_FILES);
    Ok(ExitCode::SUCCESS)
}

/// Prints the names of objects, one a line.
const NAMES: &str = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";

fn lines(told: &str) -> Vec<String> {
    told.lines().map(str::to_owned).collect()
}

/// The namespace among the words.
fn namespace(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == "-n" || word == "--namespace")?;
    words.get(at + 1).cloned()
}

fn wanted(words: &[String]) -> Wanted {
    let (Some(command), Some(typed)) = (words.first(), words.last()) else { return Wanted::Command };
    if words.len() == 1 {
        return Wanted::Command;
    }
    if typed.starts_with('-') {
        return Wanted::Flag;
    }
    let before = &words[words.len() - 2];
    if before.starts_with('-') && words.len() > 2 {
        return if before == "--model" || before == "-m" { Wanted::Model } else { Wanted::Nothing };
    }
    match command.as_str() {
        "get" | "explain" | "eta" | "logs" => Wanted::Job,
        "drain" => Wanted::Worker,
        "warm" => Wanted::Model,
        _ => Wanted::Nothing,
    }
}

fn commands() -> Vec<String> {
    let command = PluginArgs::command();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

fn flags(of: &str) -> Vec<String> {
    let command = PluginArgs::command();
    let Some(command) = command.find_subcommand(of) else { return Vec::new() };
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    shown.filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_word_stands_for_something() {
        for (line, what) in [
            ("ex", Wanted::Command),
            ("explain ", Wanted::Job),
            ("get red", Wanted::Job),
            ("drain w", Wanted::Worker),
            ("warm ", Wanted::Model),
            ("generate cat --model ", Wanted::Model),
            ("get --ima", Wanted::Flag),
            ("get -n ", Wanted::Nothing),
            ("top ", Wanted::Nothing),
        ] {
            assert_eq!(wanted(&words(line)), what, "{line}");
        }
        assert_eq!(namespace(&words("get -n team r")).as_deref(), Some("team"));
    }

    #[test]
    fn commands_and_flags_are_those_of_the_command_line() {
        assert!(commands().contains(&"explain".to_owned()) && !commands().contains(&"__complete".to_owned()));
        assert!(flags("get").contains(&"--image".to_owned()) && flags("nothing").is_empty());
    }
}
