//! `tintype simulate`: replays a trace through the production scheduler and tells how it and others would have done.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tintype_scheduler::{Config, WarmAhead};
use tintype_simulate::{
    Driven, Figures, Fleet, Latencies, Peer, Promises, Report, Schedule, Work, bounds, drive, page, read_trace,
    run_peer, table,
};

use crate::args::SimulateArgs;
use crate::terminal;

/// The word for the production scheduler's own policy.
const OURS: &str = "tintype";

/// Runs the command.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let work = read(args)?;
    let fleet = Fleet { gpus: args.gpus as usize };
    let names = if args.compare { all() } else { vec![args.policy.as_str()] };
    let bound = bounds::srpt_mean_flow_s(&work, fleet);
    let mut runs = Vec::new();
    for name in names {
        let driven = driven(name, &work, fleet)?;
        let promises = (name == OURS).then(|| Promises::of(&work, &driven));
        let Driven { schedule, lag, .. } = driven;
        let figures = Figures::of(&work, fleet, &schedule);
        let report = Report {
            policy: name.to_owned(),
            gpus: fleet.gpus,
            requests: work.requests.len(),
            skipped: work.skipped,
            flow_to_bound: figures.mean_flow_s / bound,
            figures,
            promises,
            lag,
        };
        runs.push((report, schedule));
    }
    let reports: Vec<Report> = runs.iter().map(|(report, _)| report.clone()).collect();
    if args.json {
        for report in &reports {
            terminal::result(serde_json::to_string(report)?);
        }
    } else {
        terminal::result(table(&reports).trim_end());
        terminal::result(format_args!(
            "no policy's mean flow is under {bound:.2} s; with loads for free it is {:.2} s, {:.2}% on time",
            bounds::free_loading(&work, fleet).0,
            bounds::free_loading(&work, fleet).1 * 100.0
        ));
    }
    write(args, &work, &runs)?;
    Ok(ExitCode::SUCCESS)
}

/// Every policy's word, ours first.
fn all() -> Vec<&'static str> {
    std::iter::once(OURS).chain(Peer::ALL.map(Peer::as_str)).collect()
}

fn read(args: &SimulateArgs) -> anyhow::Result<Work> {
    let Some(trace) = &args.trace else {
        bail!(
            "no trace given; name one with --trace FILE. Any CSV with GenTD26's columns does; the published one is \
             `cluster-trace-v2026-GenAI` in Alibaba's `clusterdata` repository"
        )
    };
    let latencies = args.latencies.clone().unwrap_or_else(|| beside(trace));
    let trace = read_trace(&text(trace)?).with_context(|| format!("cannot use {}", trace.display()))?;
    let table = text(&latencies).context("the load times of models are needed too; name them with --latencies FILE")?;
    let table = Latencies::read(&table).with_context(|| format!("cannot use {}", latencies.display()))?;
    Ok(Work::new(&trace, &table, args.speed)?)
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `x-requests.csv` has its `x-latencies.json` beside it.
fn beside(trace: &Path) -> PathBuf {
    let name = trace.file_stem().unwrap_or_default().to_string_lossy();
    trace.with_file_name(format!("{}-latencies.json", name.trim_end_matches("-requests")))
}

fn driven(name: &str, work: &Work, fleet: Fleet) -> anyhow::Result<Driven> {
    if name == OURS {
        return Ok(drive(work, fleet, Config { warm_ahead: WarmAhead::ForGain, ..Config::default() })?);
    }
    let peer = Peer::ALL.into_iter().find(|peer| peer.as_str() == name);
    let peer = peer.with_context(|| format!("no policy `{name}`; there are {}", all().join(", ")))?;
    Ok(Driven { schedule: run_peer(peer, work, fleet), ..Driven::default() })
}

fn write(args: &SimulateArgs, work: &Work, runs: &[(Report, Schedule)]) -> anyhow::Result<()> {
    if let (Some(path), Some((_, schedule))) = (&args.schedule, runs.first()) {
        std::fs::write(path, schedule.csv(work)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let Some(folder) = &args.out else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let reports: Vec<&Report> = runs.iter().map(|(report, _)| report).collect();
    for (name, content) in
        [("report.json", serde_json::to_string_pretty(&reports)? + "\n"), ("report.html", page(work, runs))]
    {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> SimulateArgs {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/simulate/tests");
        SimulateArgs {
            trace: Some(tests.join("tiny.csv")),
            latencies: None,
            gpus: 4,
            speed: 1.0,
            policy: OURS.to_owned(),
            compare: true,
            schedule: Some(folder.join("schedule.csv")),
            out: Some(folder.join("out")),
            json: true,
        }
    }

    #[test]
    fn a_report_is_written_and_names_every_policy() {
        let folder = tempfile::tempdir().unwrap();
        run(&args(folder.path())).unwrap();
        let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
        assert!(all().iter().all(|name| page.contains(name)));
        let schedule = std::fs::read_to_string(folder.path().join("schedule.csv")).unwrap();
        assert!(schedule.starts_with("request,worker,kind,"));
    }

    #[test]
    fn who_has_no_trace_is_told_where_to_find_one() {
        let folder = tempfile::tempdir().unwrap();
        let none = SimulateArgs { trace: None, ..args(folder.path()) };
        assert!(format!("{:#}", run(&none).unwrap_err()).contains("clusterdata"));
        let missing = SimulateArgs { trace: Some("no/such.csv".into()), ..args(folder.path()) };
        assert!(format!("{:#}", run(&missing).unwrap_err()).contains("no/such.csv"));
        let policy = SimulateArgs { policy: "magic".to_owned(), compare: false, ..args(folder.path()) };
        assert!(format!("{:#}", run(&policy).unwrap_err()).contains("warm-first"));
    }
}
