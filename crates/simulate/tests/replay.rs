//! Replays of a small made-up trace. Every schedule, ours and the peers', must keep the rules of the standard replay,
//! which are checked here from the rows alone.

use std::collections::BTreeMap;

use tintype_scheduler::{Config, WarmAhead};
use tintype_simulate::{
    Doing, Figures, Fleet, Latencies, Peer, Promises, RESIDENT_MODELS, Report, Row, Schedule, Work, bounds, drive,
    page, read_trace, run_peer,
};

const FLEET: Fleet = Fleet { gpus: 4 };

fn work() -> Work {
    let trace = read_trace(include_str!("tiny.csv")).expect("the trace beside this test is whole");
    let latencies = Latencies::read(include_str!("tiny-latencies.json")).expect("so are its load times");
    Work::new(&trace, &latencies, 1.0).expect("1 is a speed")
}

fn ours(work: &Work) -> Schedule {
    drive(work, FLEET, Config::default()).expect("a fleet without faults").schedule
}

/// The rules: a GPU does one thing at a time, runs only what is resident, and every request runs once, whole and not
/// before it arrives.
fn check(work: &Work, schedule: &Schedule) -> Result<(), String> {
    let mut gpus: BTreeMap<usize, (u64, Vec<usize>)> = BTreeMap::new();
    let mut done = vec![0_u32; work.requests.len()];
    for row in &schedule.rows {
        let (end, resident) = gpus.entry(row.worker).or_default();
        if row.start_ms < *end {
            return Err(format!("{row:?} overlaps what came before"));
        }
        *end = row.end_ms;
        check_row(work, row, resident, &mut done)?;
    }
    let unfinished = work.requests.iter().zip(&done).filter(|(request, done)| request.steps != **done).count();
    if gpus.len() > FLEET.gpus || unfinished > 0 {
        return Err(format!("{} GPUs used, {unfinished} requests unfinished", gpus.len()));
    }
    Ok(())
}

fn check_row(work: &Work, row: &Row, resident: &mut Vec<usize>, done: &mut [u32]) -> Result<(), String> {
    let took = row.end_ms - row.start_ms;
    match row.doing {
        Doing::Load { evicts, .. } => {
            if let Some(gone) = evicts {
                let place =
                    resident.iter().position(|model| *model == gone).ok_or(format!("{row:?} evicts nothing"))?;
                resident.remove(place);
            }
            resident.push(row.model);
            let fits = resident.len() <= RESIDENT_MODELS && took >= work.models[row.model].load_ms;
            fits.then_some(()).ok_or(format!("{row:?} loads too much or too fast"))
        }
        Doing::Run { request, from, to } => {
            let asked = &work.requests[request];
            let needs = u64::from(to - from) * asked.step_ms + if from == 0 { asked.fixed_ms } else { 0 };
            let fair = resident.contains(&row.model) && row.model == asked.model && row.start_ms >= asked.arrival_ms;
            let whole = done[request] == from && took >= needs;
            done[request] = to;
            (fair && whole).then_some(()).ok_or(format!("{row:?} breaks a rule"))
        }
    }
}

#[test]
fn every_policy_keeps_the_rules() {
    let work = work();
    assert_eq!((work.requests.len(), work.skipped, work.models.len()), (238, 2, 6));
    check(&work, &ours(&work)).unwrap();
    for peer in Peer::ALL {
        check(&work, &run_peer(peer, &work, FLEET)).unwrap_or_else(|broken| panic!("{}: {broken}", peer.as_str()));
    }
}

#[test]
fn the_rules_find_a_schedule_that_cheats() {
    let work = work();
    let honest = ours(&work);
    let cheats: [fn(&mut Vec<Row>); 4] = [
        |rows| rows[0].end_ms -= 1,
        |rows| rows.truncate(rows.len() - 1),
        |rows| rows.retain(|row| matches!(row.doing, Doing::Run { .. })),
        |rows| rows.iter_mut().for_each(|row| row.worker = 0),
    ];
    for (number, cheat) in cheats.iter().enumerate() {
        let mut schedule = honest.clone();
        cheat(&mut schedule.rows);
        assert!(check(&work, &schedule).is_err(), "cheat {number} was not seen");
    }
}

#[test]
fn the_same_trace_is_the_same_report_byte_for_byte() {
    let work = work();
    let [first, second] = [(); 2].map(|()| {
        let schedule = ours(&work);
        let figures = Figures::of(&work, FLEET, &schedule);
        let report = Report { policy: "tintype".to_owned(), gpus: FLEET.gpus, figures, ..Report::default() };
        (schedule.csv(&work), serde_json::to_string(&report).unwrap(), page(&work, &[(report, schedule)]))
    });
    assert_eq!(first, second);
    assert!(first.2.contains("<svg") && first.0.lines().count() > work.requests.len());
}

/// What is done for speed alone changes no decision: schedules are written down by their digest. `UPDATE=1` writes them anew,
/// which is right only where a change of decisions is meant.
#[test]
fn schedules_are_those_written_down() {
    let work = work();
    let mut told = String::new();
    for (gpus, warm_ahead, deadlines) in
        [(1, false, true), (2, true, true), (4, false, true), (4, true, false), (9, true, true)]
    {
        let ahead = if warm_ahead { WarmAhead::ForGain } else { WarmAhead::Never };
        let config = Config { warm_ahead: ahead, deadlines, ..Config::default() };
        let schedule = drive(&work, Fleet { gpus }, config).expect("a fleet without faults").schedule;
        let csv = schedule.csv(&work);
        // FNV-1a.
        let digest = csv
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let rows = csv.lines().count();
        let line = format!("{gpus} GPUs, warm ahead {warm_ahead}, deadlines {deadlines}: {rows} rows {digest:016x}");
        told = told + &line + "\n";
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny-schedules.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &told).expect("the file beside this test is ours");
    }
    let known = std::fs::read_to_string(path).expect("the file is in the repository");
    assert_eq!(told, known, "schedules differ; if that is meant, run again with UPDATE=1");
}

#[test]
fn what_is_promised_is_kept_and_ends_when_told() {
    let work = work();
    let driven = drive(&work, FLEET, Config::default()).expect("a fleet without faults");
    let promises = Promises::of(&work, &driven);
    assert!(promises.made >= work.requests.len() / 20, "{promises:?}");
    assert!(promises.kept > 0.999 && promises.eta_error_p90 <= 0.15, "{promises:?}");
    let none = drive(&work, FLEET, Config { deadlines: false, ..Config::default() }).expect("so is this");
    assert_eq!(Promises::of(&work, &none).made, 0);
}

#[test]
fn no_policy_beats_the_bounds() {
    let work = work();
    let flow = bounds::srpt_mean_flow_s(&work, FLEET);
    let loads = bounds::belady_loads(&work, FLEET);
    assert!(loads >= work.models.len());
    let schedules = Peer::ALL.map(|peer| run_peer(peer, &work, FLEET)).into_iter().chain([ours(&work)]);
    for figures in schedules.map(|schedule| Figures::of(&work, FLEET, &schedule)) {
        assert!(figures.mean_flow_s >= flow, "{figures:?} beats {flow}");
        assert!(figures.switch_ratio * work.requests.len() as f64 >= loads as f64 - 0.5, "{figures:?} beats {loads}");
        assert_eq!(figures.unfinished, 0);
    }
    let (free_flow, free_on_time) = bounds::free_loading(&work, FLEET);
    assert!(free_flow >= flow && free_on_time <= bounds::relaxed_on_time(&work, FLEET) + 0.02);
}
