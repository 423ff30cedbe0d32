//! What the chart tells a program is what the program takes: every flag, every variable, nothing required left out.

use clap::{ArgMatches, Command, CommandFactory as _};
use serde_json::Value;

use crate::helm::{examples, render};
use crate::manifest::{pods, text};

/// Each container of a component in any example, with the example's name.
fn containers(component: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (example, values) in examples() {
        for pod in pods(&render(&values)) {
            if text(&pod, "/metadata/labels/app.kubernetes.io~1component") == component {
                found.push((example.clone(), pod["spec"]["containers"][0].clone()));
            }
        }
    }
    assert!(!found.is_empty(), "no example has a {component}");
    found
}

/// Gives the program the container's arguments and, in place of its variables, the flags they stand for.
fn accepted(program: &Command, container: &Value) -> Result<ArgMatches, clap::Error> {
    let list = |of: &str| container[of].as_array().cloned().unwrap_or_default();
    let mut line: Vec<String> = vec![program.get_name().to_owned()];
    line.extend(list("args").iter().map(|argument| argument.as_str().unwrap().to_owned()));
    for variable in list("env") {
        let name = text(&variable, "/name");
        let flag = program.get_arguments().find(|argument| argument.get_env().is_some_and(|env| env == name));
        let ours = name.starts_with("TINTYPE_") || name.starts_with("POD_") || name == "DATABASE_URL";
        // Read by every program before its flags are.
        let ours = ours && name != "TINTYPE_LOG";
        assert!(flag.is_some() || !ours, "{} reads no variable {name}", program.get_name());
        if let Some(flag) = flag.and_then(clap::Arg::get_long) {
            // What the kubelet fills in is some text.
            let value = if variable["valueFrom"].is_object() { "filled-in" } else { text(&variable, "/value") };
            line.push(format!("--{flag}={value}"));
        }
    }
    program.clone().try_get_matches_from(line)
}

fn check(program: &Command, component: &str) {
    for (example, container) in containers(component) {
        let said = accepted(program, &container).map(drop).map_err(|error| error.to_string());
        assert_eq!(said, Ok(()), "{example}: {component}");
    }
}

#[test]
fn the_operator_takes_what_it_is_given() {
    check(&tintype_operator::args::Cli::command(), "operator");
}

#[test]
fn the_api_takes_what_it_is_given() {
    check(&tintype_api::Cli::command(), "api");
}

/// `helm test`, and the Job that makes a database's Secret, run a chore of a program; their first argument names that.
#[test]
fn the_chores_take_what_they_are_given() {
    let (operator, api) = (tintype_operator::args::Cli::command(), tintype_api::Cli::command());
    for (of, component) in [(operator, "test"), (api, "database-secret")] {
        for (example, mut container) in containers(component) {
            let chore = container["args"].as_array_mut().unwrap().remove(0);
            let chore = of.find_subcommand(chore.as_str().unwrap()).unwrap();
            let said = accepted(chore, &container).map(drop).map_err(|error| error.to_string());
            assert_eq!(said, Ok(()), "{example}: {component}");
        }
    }
}

#[test]
fn the_worker_takes_what_it_is_given() {
    check(&tintype_worker::Args::command(), "worker");
}

#[test]
fn the_adapter_takes_what_it_is_given() {
    check(&tintype_provider::Args::command(), "provider");
}

#[test]
fn a_flag_the_program_does_not_have_would_be_noticed() {
    let mut container = containers("operator").remove(0).1;
    container["args"].as_array_mut().unwrap().push("--no-such-flag".into());
    assert!(accepted(&tintype_operator::args::Cli::command(), &container).is_err());
    let mut container = containers("worker").remove(0).1;
    container["env"].as_array_mut().unwrap().retain(|variable| variable["name"] != "TINTYPE_DISPATCH_URL");
    assert!(accepted(&tintype_worker::Args::command(), &container).is_err());
}
