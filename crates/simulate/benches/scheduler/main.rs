//! `make bench-scheduler`: figures of the scheduler as lines of JSON, each with what it is held against. With a trace
//! (`TINTYPE_TRACE`, and `TINTYPE_LATENCIES` beside it) the standard replay; always, placements at scale.
//!
//! `-- saturated idle negative replay` runs parts of it; `-- foresight` what placements would bring that know what comes, which
//! takes some minutes and is not run otherwise. Times are of the processor, so that whoever else uses the machine
//! does not count.
//!
//! Nothing here fails for being slow: a line says `ok`, and whoever reads it decides.
#![expect(clippy::print_stdout, reason = "printing figures is what a benchmark is for")]

mod scale;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tintype_scheduler::{Config, WarmAhead};
use tintype_simulate::standing::{self, Known};
use tintype_simulate::{Figures, Fleet, Latencies, Peer, Promises, Work, bounds, drive, read_trace, run_peer};

/// The standard replay's speed and fleet.
const SPEED: f64 = 100.0;
const FLEET: Fleet = Fleet { gpus: 48 };

/// One figure.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    value: f64,
    unit: &'a str,
    /// What it is held against.
    anchor: f64,
    /// Value divided by anchor.
    ratio: f64,
    goal: String,
    ok: bool,
}

/// Whether less or more is better.
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Time this thread had the processor.
#[derive(Clone, Copy)]
struct CpuTime(Duration);

impl CpuTime {
    fn now() -> Self {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Self(Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let asked = |part: &str| parts.is_empty() || parts.iter().any(|asked| asked == part);
    scale::run(asked);
    let foresees = parts.iter().any(|part| part == "foresight");
    if !asked("replay") && !foresees {
        return;
    }
    let Some(trace) = std::env::var_os("TINTYPE_TRACE").map(PathBuf::from) else {
        println!(
            "{{\"name\":\"replay\",\"skipped\":\"set TINTYPE_TRACE to a GenTD26 request file and TINTYPE_LATENCIES to its load times\"}}"
        );
        return;
    };
    match read(&trace) {
        Ok(work) if foresees => foresight(&work),
        Ok(work) => replay(&work),
        Err(why) => println!("{{\"name\":\"replay\",\"skipped\":{}}}", serde_json::json!(why)),
    }
}

fn read(trace: &Path) -> Result<Work, String> {
    let latencies = std::env::var_os("TINTYPE_LATENCIES").ok_or("TINTYPE_LATENCIES names no file")?;
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let trace = read_trace(&text(trace)?).map_err(|error| error.to_string())?;
    let latencies = Latencies::read(&text(latencies.as_ref())?).map_err(|error| error.to_string())?;
    Work::new(&trace, &latencies, SPEED).map_err(|error| error.to_string())
}

fn print(name: &str, value: f64, unit: &str, anchor: f64, goal: &Goal) {
    let (goal, ok) = match goal {
        Goal::AtMost(most) => (format!("<= {most}"), value <= *most),
        Goal::AtLeast(least) => (format!(">= {least}"), value >= *least),
    };
    let line = Line { name, value, unit, anchor, ratio: value / anchor, goal, ok };
    println!("{}", serde_json::json!(line));
}

/// A day of the trace, in milliseconds of the replay.
const DAY_MS: u64 = (86_400_000.0 / SPEED) as u64;
/// Changes tried for each placement.
const TRIES: u32 = 6_000;

/// What models that stand still for a day bring, chosen for what is known of it.
fn foresight(work: &Work) {
    let free = bounds::free_loading(work, FLEET).1;
    let known = [
        ("the_day", Known::Itself),
        ("the_day_before", Known::Before(1)),
        ("three_days_before", Known::Before(3)),
        ("the_trace", Known::Everything),
    ];
    for (name, known) in known {
        let share = standing::on_time(work, FLEET, DAY_MS, known, TRIES);
        print(&format!("on_time_knowing_{name}"), share, "share", free, &Goal::AtLeast(0.86));
    }
}

/// The standard replay: ours beside the peers and the bounds.
fn replay(work: &Work) {
    let warm_first = Figures::of(work, FLEET, &run_peer(Peer::WarmFirst, work, FLEET));
    let flow_bound = bounds::srpt_mean_flow_s(work, FLEET);
    let (free_flow, free_on_time) = bounds::free_loading(work, FLEET);
    let relaxed = bounds::relaxed_on_time(work, FLEET);
    let begun = CpuTime::now();
    let config = Config { warm_ahead: WarmAhead::ForGain, ..Config::default() };
    let budget_s = config.fairness_budget.as_secs_f64();
    let driven = match drive(work, FLEET, config) {
        Ok(driven) => driven,
        Err(error) => return println!("{{\"name\":\"replay\",\"failed\":{}}}", serde_json::json!(error.to_string())),
    };
    let took_s = begun.elapsed().as_secs_f64();
    let ours = Figures::of(work, FLEET, &driven.schedule);
    print("replay_loads", ours.switch_ratio, "loads/request", warm_first.switch_ratio, &Goal::AtMost(0.05));
    print("replay_mean_flow", ours.mean_flow_s, "s", flow_bound, &Goal::AtMost(1.5 * flow_bound));
    print("replay_mean_flow_to_free_loading", ours.mean_flow_s, "s", free_flow, &Goal::AtMost(1.5 * free_flow));
    print("replay_on_time", ours.on_time, "share", relaxed, &Goal::AtLeast(0.86));
    print("replay_on_time_to_free_loading", ours.on_time, "share", free_on_time, &Goal::AtLeast(0.86));
    // The longest run and load of the replay stay under these.
    let charge_s = work.requests.iter().map(tintype_simulate::Request::service_ms).max().unwrap_or_default() as f64
        / 1e3
        + work.models.iter().map(|model| model.load_ms).max().unwrap_or_default() as f64 / 1e3;
    let gap = driven.gap_max.as_secs_f64();
    print("replay_fairness_gap", gap, "GPU-s", budget_s + charge_s, &Goal::AtMost(budget_s + charge_s));
    let promises = Promises::of(work, &driven);
    print("replay_promised", promises.made as f64 / work.requests.len() as f64, "share", 1.0, &Goal::AtLeast(0.15));
    print("replay_promises_kept", promises.kept, "share", 1.0, &Goal::AtLeast(0.999));
    print("replay_eta_error_p90", promises.eta_error_p90, "of flow time", 0.15, &Goal::AtMost(0.15));
    let half = Fleet { gpus: FLEET.gpus / 2 };
    let halved = drive(work, half, Config { warm_ahead: WarmAhead::ForGain, ..Config::default() });
    let halved = halved.map_or(0.0, |driven| Figures::of(work, half, &driven.schedule).on_time);
    print("replay_on_time_half_the_gpus", halved, "share", warm_first.on_time, &Goal::AtLeast(warm_first.on_time));
    print("replay_wall", took_s, "s", 2.0, &Goal::AtMost(2.0));
    for peer in Peer::ALL {
        let theirs = Figures::of(work, FLEET, &run_peer(peer, work, FLEET));
        let name = |figure: &str| format!("peer_{}_{figure}", peer.as_str());
        print(
            &name("loads"),
            theirs.switch_ratio,
            "loads/request",
            ours.switch_ratio,
            &Goal::AtLeast(ours.switch_ratio),
        );
        print(&name("mean_flow"), theirs.mean_flow_s, "s", ours.mean_flow_s, &Goal::AtLeast(ours.mean_flow_s));
        print(&name("on_time"), theirs.on_time, "share", ours.on_time, &Goal::AtMost(ours.on_time));
    }
}
