//! An explanation in words.

use tintype_scheduler::{BudgetWindow, Change, Explanation, Held, Remedy, Verdict};

use crate::show::moment;

/// What is so, what would start it, when it should start.
pub(super) fn text(name: &str, told: &Explanation) -> String {
    let mut lines = vec![
        format!("job      {name}"),
        format!("queue    {}", told.queue),
        format!("model    {}", told.model),
        format!("waiting  since {}", moment(told.submitted, told.now)),
        format!("why      {}", why(told)),
    ];
    if let Some(pool) = &told.pool {
        lines.insert(3, format!("pool     {pool}"));
    }
    for (number, remedy) in told.remedies.iter().enumerate() {
        lines.push(format!("{}  {}", if number == 0 { "to start" } else { "or      " }, change(remedy)));
    }
    if let Some(estimate) = &told.estimate {
        lines.push(format!("starts   {} (half the time earlier)", moment(estimate.starts_p50, told.now)));
        lines.push(format!(
            "ends     {} (half the time earlier), nine times in ten {}",
            moment(estimate.ends_p50, told.now),
            moment(estimate.ends_p90, told.now)
        ));
    }
    if let Some(deadline) = told.deadline {
        let kept = match (told.promised, told.late) {
            (_, true) => "will be missed",
            (true, false) => "promised",
            (false, false) => "should be met",
        };
        lines.push(format!("deadline {}, {kept}", moment(deadline, told.now)));
    }
    for (number, change) in told.changes.iter().enumerate() {
        lines.push(format!("{}  {}", if number == 0 { "in time " } else { "or      " }, in_time(change, told)));
    }
    lines.join("\n")
}

fn why(told: &Explanation) -> String {
    match &told.verdict {
        Verdict::Running { attempt, worker } => format!("it runs: attempt {attempt} on {worker}"),
        Verdict::WaitingForWorker => "it is next in its queue, and every worker that fits is busy".to_owned(),
        Verdict::NoMatchingWorker { pool: Some(pool) } => format!("no worker is in pool {pool}"),
        Verdict::NoMatchingWorker { pool: None } => "there is no worker".to_owned(),
        Verdict::NoWorkerForModel { model } => format!("no worker it may use can load {model}"),
        Verdict::UnknownModel { model, fails_at } => {
            format!("nobody has declared {model}; it fails {} unless somebody does", moment(*fails_at, told.now))
        }
        Verdict::WaitingForQuota { used, limit } => format!("its queue runs {used} of the {limit} jobs it may"),
        Verdict::HeldByQuota { queue, what } => match what {
            Held::Running => format!("queue {queue} and its parts run as many jobs as they may"),
            Held::Vram => format!("models of queue {queue} take as much GPU memory as they may"),
            Held::GpuTime => format!("queue {queue} was given all GPU time of this window"),
            Held::Kept => format!("what queue {queue} has left is kept for parts that run less than their own"),
        },
        Verdict::BehindInQueue { ahead: 1 } => "one job of its queue goes first".to_owned(),
        Verdict::BehindInQueue { ahead } => format!("{ahead} jobs of its queue go first"),
        Verdict::BudgetUsedUp { pool, window } => {
            format!("what the provider of pool {pool} may cost this {} is used up", name(*window))
        }
        Verdict::BackingOff { until } => {
            format!("its last attempt failed a moment ago; it is tried again {}", moment(*until, told.now))
        }
        Verdict::Settling => "a decision about it is being written".to_owned(),
        Verdict::Ended => "it has ended".to_owned(),
    }
}

fn name(window: BudgetWindow) -> &'static str {
    match window {
        BudgetWindow::Day => "day",
        BudgetWindow::Month => "month",
    }
}

fn in_time(change: &Change, told: &Explanation) -> String {
    match change {
        Change::FewerSteps { from, to } => format!("with {to} steps instead of {from}"),
        Change::OtherModel { to } => format!("with model {to}, which is in memory"),
        Change::Smaller { from, to } => format!("with pictures of {to} pixels instead of {from}"),
        Change::LaterDeadline { to } => format!("with a deadline {}", moment(*to, told.now)),
    }
}

fn change(remedy: &Remedy) -> String {
    let of = |pool: &Option<tintype_types::PoolName>| {
        pool.as_ref().map_or_else(String::new, |pool| format!(" of pool {pool}"))
    };
    match remedy {
        Remedy::RaiseQuota { queue, from, to } => format!("raise the quota of {queue} from {from} to {to}"),
        Remedy::ChangePool { to } => format!("ask for pool {to}, or for none"),
        Remedy::InstallModel { model, pool } => format!("put {model} where a worker{} loads its models from", of(pool)),
        Remedy::DeclareModel { model } => format!("declare {model} (a DiffusionModel, or files in a models folder)"),
        Remedy::AddWorkers { count: 1, pool, model } => format!("add a worker{} that can load {model}", of(pool)),
        Remedy::AddWorkers { count, pool, model } => format!("add {count} workers{} that can load {model}", of(pool)),
        Remedy::RaiseBudget { pool, window } => {
            format!("allow pool {pool} more (spec.provider.budget), or wait for the next {} (UTC)", name(*window))
        }
        Remedy::RaisePriority { from, to } => format!("raise its priority from {from} to {to}: then it is next"),
    }
}

#[cfg(test)]
mod tests {
    use tintype_scheduler::Estimate;
    use tintype_types::Timestamp;

    use super::*;
    use crate::show::WIDTH;

    #[test]
    fn an_explanation_says_what_is_so_and_what_to_do() {
        let told = Explanation {
            job: "0b".into(),
            queue: "ns/free".into(),
            model: "tintype/shapes".to_owned(),
            pool: Some("l40s".into()),
            submitted: Timestamp(1_000),
            deadline: Some(Timestamp(70_000)),
            attempt: 0,
            verdict: Verdict::WaitingForQuota { used: 2, limit: 2 },
            remedies: vec![Remedy::RaiseQuota { queue: "ns/free".into(), from: 2, to: 3 }],
            estimate: Some(Estimate {
                starts_p50: Timestamp(71_000),
                ends_p50: Timestamp(75_000),
                ends_p90: Timestamp(91_000),
                ahead: 3,
                run_ms: 4_000,
                load_ms: 0,
            }),
            late: true,
            promised: false,
            changes: vec![Change::FewerSteps { from: 30, to: 18 }, Change::LaterDeadline { to: Timestamp(91_000) }],
            now: Timestamp(11_000),
        };
        let said = text("red-circle", &told);
        assert!(said.lines().all(|line| line.chars().count() <= WIDTH), "{said}");
        for words in [
            "job      red-circle",
            "pool     l40s",
            "since 10.0 s ago",
            "its queue runs 2 of the 2",
            "to start  raise the quota of ns/free from 2 to 3",
            "starts   in 1 min 0 s",
            "nine times in ten in 1 min 20 s",
            "deadline in 59.0 s, will be missed",
            "in time   with 18 steps instead of 30",
            "or        with a deadline in 1 min 20 s",
        ] {
            assert!(said.contains(words), "no {words:?} in\n{said}");
        }
    }
}
