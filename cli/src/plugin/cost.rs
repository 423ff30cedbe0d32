//! `kubectl tintype cost`: what the pictures of finished jobs cost, from the time their GPUs were held and what an hour of a
//! pool's GPU costs, or from what a pool's provider charges; and what is left of providers' budgets. It counts jobs that are still there; those whose time ran out are gone, and so is what they cost.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tintype_crds::{GenerationJob, GpuPool, PoolProvider, ProviderSpend, SpendWindow, WindowSpend};
use tintype_types::JobState;

use super::args::CostArgs;
use super::jobs::List;
use crate::args::OutputFormat;
use crate::kubectl::{JOBS, Kubectl};
use crate::show::{self, Cells, ms, table};

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;

/// Who makes the pictures of a pool that names no provider.
const OWN: &str = "kubernetes";

/// What pictures of one kind cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    model: String,
    pool: String,
    /// Who made them: `kubernetes`, or a paid provider.
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    jobs: u64,
    images: u64,
    gpu_milliseconds: u64,
    /// In the money the prices are in, of providers US dollars; absent where nobody said what the pool costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_per_image: Option<f64>,
}

/// What is left of the budget of a provider's pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Budget {
    pool: String,
    provider: &'static str,
    /// As the pool's status has it: `day`, `month`, `unknown`, and `usedUp` where its jobs wait for more.
    #[serde(flatten)]
    spend: ProviderSpend,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Told {
    costs: Vec<Line>,
    budgets: Vec<Budget>,
}

/// Runs the command.
pub(super) async fn run(args: &CostArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.kubectl);
    let words = ["get", JOBS, "--field-selector=status.state=Complete", "-o", "json"];
    let jobs: List<GenerationJob> = if args.all_namespaces {
        kubectl.read(&[&words[..], &["--all-namespaces"]].concat()).await?
    } else {
        kubectl.read(&kubectl.in_namespace(&words)).await?
    };
    let pools: List<GpuPool> = kubectl.read(&["get", "gpupools.tintype.dev", "-o", "json"]).await?;
    let lines = lines(&jobs.items, &prices(&pools.items, &args.price), args.by_queue);
    let told = Told { costs: lines, budgets: budgets(&pools.items) };
    let said = show::written(&told, args.output, || text(&told.costs, args.output) + &budget_text(&told.budgets))?;
    crate::terminal::result(said.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// What a pool is paid for by.
enum Price<'a> {
    /// The hour of a GPU.
    Hour(f64),
    /// What its provider charges.
    Provider(&'a PoolProvider),
}

impl Price<'_> {
    fn cost(&self, model: &str, sum: Sum) -> Option<f64> {
        match self {
            Self::Hour(price) => Some(price * sum.held_ms as f64 / HOUR_MS),
            Self::Provider(provider) => provider.cost_usd(model, sum.images, sum.held_ms),
        }
    }
}

/// What each pool is paid for by: as it says, unless a flag says otherwise.
fn prices<'a>(pools: &'a [GpuPool], flags: &[(String, f64)]) -> BTreeMap<String, Price<'a>> {
    let said = pools.iter().filter_map(|pool| {
        let price = match &pool.spec.provider {
            Some(provider) => Price::Provider(provider),
            None => Price::Hour(pool.spec.price_per_gpu_hour.as_ref()?.parse().ok()?),
        };
        Some((pool.metadata.name.clone()?, price))
    });
    said.chain(flags.iter().map(|(pool, price)| (pool.clone(), Price::Hour(*price)))).collect()
}

/// Of the providers' pools that have bought.
fn budgets(pools: &[GpuPool]) -> Vec<Budget> {
    let of = |pool: &GpuPool| {
        Some(Budget {
            pool: pool.metadata.name.clone()?,
            provider: pool.spec.provider.as_ref()?.kind.as_str(),
            spend: pool.status.as_ref()?.provider?,
        })
    };
    pools.iter().filter_map(of).collect()
}

/// The same in words; nothing where none has bought.
fn budget_text(budgets: &[Budget]) -> String {
    let window = |name: &str, window: WindowSpend| {
        let [spent, reserved, cap] = [window.spent_micro_usd, window.reserved_micro_usd, window.cap_micro_usd];
        let [spent, reserved, cap] = [spent, reserved, cap].map(|sum| sum as f64 / 1e6);
        format!("\n  {name}: {spent:.4} of {cap:.2} US dollars spent, {reserved:.4} set aside")
    };
    let of = |Budget { pool, provider: _, spend }: &Budget| {
        let (day, month) = (window("today", spend.day), window("this month", spend.month));
        let unknown = match spend.unknown {
            0 => String::new(),
            count => format!("\n  purchases whose outcome nobody knows, counted in full: {count}"),
        };
        let until = match spend.used_up {
            None => "",
            Some(SpendWindow::Day) => "\n  its jobs wait for the next day (UTC), or for more budget",
            Some(SpendWindow::Month) => "\n  its jobs wait for the next month (UTC), or for more budget",
        };
        format!("\n\n{pool}{day}{month}{unknown}{until}")
    };
    budgets.iter().map(of).collect()
}

/// What pictures are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    model: String,
    pool: String,
    queue: Option<String>,
}

/// What there is of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    jobs: u64,
    images: u64,
    held_ms: u64,
}

/// One line for each model and pool, and queue if wanted; what cost most is first.
fn lines(all: &[GenerationJob], prices: &BTreeMap<String, Price<'_>>, by_queue: bool) -> Vec<Line> {
    let mut found: BTreeMap<Kind, Sum> = BTreeMap::new();
    for job in all {
        let status = job.status_or_new();
        let Some(held) = status.gpu_milliseconds.filter(|_| status.state == JobState::Complete) else { continue };
        let pool = status.assignment.and_then(|it| it.pool).map_or_else(|| "-".to_owned(), |pool| pool.to_string());
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let queue = by_queue.then(|| format!("{namespace}/{}", job.spec.queue));
        let sum = found.entry(Kind { model: job.spec.request.model.clone(), pool, queue }).or_default();
        sum.jobs += 1;
        sum.images += status.outputs.len() as u64;
        sum.held_ms = sum.held_ms.saturating_add(held);
    }
    let line = |(Kind { model, pool, queue }, sum)| {
        let price = prices.get(&pool);
        let cost = price.and_then(|price| price.cost(&model, sum));
        let provider = match price {
            Some(Price::Provider(provider)) => provider.kind.as_str(),
            Some(Price::Hour(_)) | None => OWN,
        };
        let Sum { jobs, images, held_ms } = sum;
        let cost_per_image = cost.filter(|_| images > 0).map(|cost| cost / images as f64);
        Line { model, pool, provider, queue, jobs, images, gpu_milliseconds: held_ms, cost, cost_per_image }
    };
    let mut lines: Vec<Line> = found.into_iter().map(line).collect();
    lines.sort_by(|a, b| b.cost.unwrap_or(0.0).total_cmp(&a.cost.unwrap_or(0.0)));
    lines
}

fn text(lines: &[Line], form: OutputFormat) -> String {
    if lines.is_empty() {
        return "no job here has made a picture".to_owned();
    }
    let by_queue = lines.iter().any(|line| line.queue.is_some());
    let mut heads = vec!["MODEL", "POOL", "PROVIDER", "JOBS", "IMAGES", "GPU TIME", "COST", "PER IMAGE"];
    if by_queue {
        heads.insert(0, "QUEUE");
    }
    let money = |sum: Option<f64>, digits: usize| sum.map_or_else(|| "?".to_owned(), |sum| format!("{sum:.digits$}"));
    let row = |line: &Line| {
        let mut cells = vec![
            line.model.clone(),
            line.pool.clone(),
            line.provider.to_owned(),
            line.jobs.to_string(),
            line.images.to_string(),
            ms(line.gpu_milliseconds),
            money(line.cost, 4),
            money(line.cost_per_image, 6),
        ];
        if by_queue {
            cells.insert(0, line.queue.clone().unwrap_or_default());
        }
        cells
    };
    let mut text = table(&heads, &lines.iter().map(row).collect::<Vec<_>>(), Cells::from(form));
    if lines.iter().any(|line| line.cost.is_none()) {
        text.push_str("\n\n? say what a GPU costs: spec.pricePerGpuHour of the GpuPool, or --price POOL=PRICE");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tintype_crds::GpuPoolSpec;

    use super::*;

    fn job(model: &str, pool: &str, held: u64, images: usize, state: &str) -> GenerationJob {
        let output = json!({ "key": "k", "sha256": "0", "bytes": 1, "width": 64, "height": 64, "seed": 1 });
        serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob", "metadata": { "name": "j", "namespace": "team" },
            "spec": { "request": { "model": model, "prompt": "p" }, "queue": "free" },
            "status": {
                "state": state, "attempt": 1, "gpuMilliseconds": held, "outputs": vec![output; images],
                "assignment": { "worker": "w", "pool": pool, "attempt": 1, "leaderEpoch": 1 },
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_a_provider_made_costs_what_it_charges_and_its_budget_is_shown() {
        let pool: GpuPool = serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": "burst" },
            "spec": { "provider": {
                "kind": "replicate", "baseUrl": "https://x.test", "budget": { "dayMicroUsd": 5_000_000, "monthMicroUsd": 60_000_000 },
                "models": [{ "name": "a", "target": "t", "pricePerSecondMicroUsd": 1_400 }],
            }},
            "status": { "provider": {
                "day": { "spentMicroUsd": 42_000, "reservedMicroUsd": 168_000, "capMicroUsd": 5_000_000 },
                "month": { "spentMicroUsd": 1_042_000, "reservedMicroUsd": 168_000, "capMicroUsd": 60_000_000 },
                "unknown": 1, "usedUp": "day",
            }},
        }))
        .unwrap();
        let pools = [pool];
        let all = [job("a", "burst", 30_000, 2, "Complete"), job("a", "l40s", 10_000, 1, "Complete")];
        let lines = lines(&all, &prices(&pools, &[("l40s".to_owned(), 0.36)]), false);
        let costs: Vec<_> = lines.iter().map(|line| (line.provider, (line.cost.unwrap() * 1e6).round())).collect();
        assert_eq!(costs, [("replicate", 42_000.0), ("kubernetes", 1_000.0)]);
        assert!(text(&lines, OutputFormat::Table).lines().all(|line| line.len() <= 100));
        let told = Told { costs: lines, budgets: budgets(&pools) };
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["costs"][0]["cost"], 0.042, "{json}");
        let budget = &json["budgets"][0];
        assert_eq!(
            (&budget["pool"], &budget["provider"], &budget["usedUp"]),
            (&json!("burst"), &json!("replicate"), &json!("day"))
        );
        assert_eq!((&budget["month"]["capMicroUsd"], &budget["unknown"]), (&json!(60_000_000), &json!(1)), "{json}");
        let said = budget_text(&told.budgets);
        for part in [
            "burst",
            "today: 0.0420 of 5.00",
            "0.1680 set aside",
            "this month: 1.0420 of 60.00",
            "in full: 1",
            "wait for the next day",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn cost_is_the_time_a_gpu_was_held_at_its_price() {
        let spec = GpuPoolSpec { price_per_gpu_hour: Some("3.60".to_owned()), ..GpuPoolSpec::default() };
        let pools = [GpuPool::new("l40s", spec)];
        let prices = prices(&pools, &[("t4".to_owned(), 0.36)]);
        let all = [
            job("a", "l40s", 10_000, 1, "Complete"),
            job("a", "l40s", 20_000, 2, "Complete"),
            job("a", "t4", 10_000, 1, "Complete"),
            job("b", "spare", 5_000, 1, "Complete"),
            job("b", "l40s", 99_000, 0, "Failed"),
        ];
        let lines = lines(&all, &prices, false);
        let first = &lines[0];
        assert_eq!((first.pool.as_str(), first.jobs, first.images, first.gpu_milliseconds), ("l40s", 2, 3, 30_000));
        assert!((first.cost.unwrap() - 0.03).abs() < 1e-12 && (first.cost_per_image.unwrap() - 0.01).abs() < 1e-12);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines.iter().find(|line| line.pool == "spare").unwrap().cost, None);
        let said = text(&lines, OutputFormat::Table);
        assert!(said.contains("0.0300") && said.contains("0.010000") && said.contains("pricePerGpuHour"), "{said}");
        let by_queue = super::lines(&all, &prices, true);
        assert!(by_queue.iter().all(|line| line.queue.as_deref() == Some("team/free")));
    }
}
