//! Looks after purchases nobody waits for: those of attempts that were stopped, and of a process that died. And says what
//! was spent, in metrics and in the pool's status.

use std::sync::Arc;
use std::time::Duration;

use tintype_crds::{PoolProvider, ProviderSpend, SpendWindow, WindowSpend};
use tintype_purchase::{Book, Event, Intent, State, Window};
use tintype_types::{JobId, PoolName, Timestamp};

use crate::adapter::{Adapter, lock, now};
use crate::settings::cheapest;

/// Most purchases looked after in one round.
const ROUND_MAX: usize = 64;

impl Adapter {
    /// Runs for ever, a round every `pause`. A round that fails is a line in the log, and the next one tries again.
    pub(crate) async fn look_after(self: &Arc<Self>, pause: Duration) {
        let mut told = None;
        loop {
            if let Err(error) = self.round(&mut told).await {
                tracing::warn!(error = format!("{error:#}"), "purchases could not be looked after");
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn round(&self, told: &mut Option<ProviderSpend>) -> anyhow::Result<()> {
        let settings = self.settings();
        let aged = self.ledger.change(|book| {
            book.age(now());
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = aged.await?;
        let open = self.ledger.read(|book| open(book, &self.pool)).await?;
        for (job, intent) in open.into_iter().take(ROUND_MAX) {
            if !lock(&self.busy).contains(&job) {
                self.look_after_one(&job, &intent, &settings).await?;
            }
        }
        let (spend, states) = self.ledger.read(|book| seen(book, &self.pool, &settings, now())).await?;
        self.metrics.show(&spend, &states);
        if told.as_ref() != Some(&spend) {
            self.source.tell(&spend).await?;
            *told = Some(spend);
        }
        Ok(())
    }

    async fn look_after_one(&self, job: &JobId, intent: &Intent, settings: &PoolProvider) -> anyhow::Result<()> {
        match &intent.state {
            // Said to be sent, by somebody who could not keep that, or is gone.
            State::Submitted if !lock(&self.sending).contains(&intent.number) => {
                self.hear(job, intent.number, Event::AnswerLost).await
            }
            State::Unknown => self.found(job, intent, settings).await.map(|_| ()),
            State::Known { id } | State::Running { id } => self.look(job, intent, id, settings).await.map(|_| ()),
            // Its attempt was given up before anything was sent.
            State::Planned => self.hear(job, intent.number, Event::Dropped).await,
            State::Submitted | State::Succeeded { .. } | State::Failed { .. } => Ok(()),
        }
    }
}

fn open(book: &Book, pool: &PoolName) -> Vec<(JobId, Intent)> {
    let open = book.of(pool).filter(|(_, intent)| intent.state.is_open());
    open.map(|(job, intent)| (job.clone(), intent.clone())).collect()
}

/// What the book says of a pool: its money, and where each of its purchases stands.
fn seen(book: &Book, pool: &PoolName, settings: &PoolProvider, at: Timestamp) -> (ProviderSpend, Vec<&'static str>) {
    let of = |window, cap_micro_usd| {
        let spend = book.spend(pool, window, at);
        WindowSpend { spent_micro_usd: spend.spent.0, reserved_micro_usd: spend.reserved.0, cap_micro_usd }
    };
    let states: Vec<_> = book.of(pool).map(|(_, intent)| intent.state.as_str()).collect();
    let unknown = states.iter().filter(|state| **state == State::Unknown.as_str()).count();
    let spend = ProviderSpend {
        day: of(Window::Day, settings.budget.day_micro_usd),
        month: of(Window::Month, settings.budget.month_micro_usd),
        unknown: u32::try_from(unknown).unwrap_or(u32::MAX),
        used_up: None,
    };
    (ProviderSpend { used_up: used_up(&spend, settings), ..spend }, states)
}

/// Whose budget leaves less than the cheapest job may cost; of two, the one that ends later.
fn used_up(spend: &ProviderSpend, settings: &PoolProvider) -> Option<SpendWindow> {
    // Settings that are wrong are told of where they are read.
    let needed = cheapest(settings).ok()?.0;
    let short = |window: WindowSpend| {
        let taken = window.spent_micro_usd.saturating_add(window.reserved_micro_usd);
        window.cap_micro_usd.saturating_sub(taken) < needed
    };
    match (short(spend.day), short(spend.month)) {
        (_, true) => Some(SpendWindow::Month),
        (true, false) => Some(SpendWindow::Day),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_budget_is_used_up_when_the_cheapest_job_does_not_fit_any_more() {
        let settings: PoolProvider = serde_json::from_value(json!({
            "kind": "modal", "baseUrl": "https://x.test", "budget": { "dayMicroUsd": 100, "monthMicroUsd": 1_000 },
            "models": [
                { "name": "a", "target": "t", "pricePerImageMicroUsd": 30 },
                { "name": "b", "target": "t", "pricePerSecondMicroUsd": 10, "secondsMax": 60 },
            ],
        }))
        .unwrap();
        let of = |day: (u64, u64), month: u64| {
            let window = |spent_micro_usd, reserved_micro_usd, cap_micro_usd| WindowSpend {
                spent_micro_usd,
                reserved_micro_usd,
                cap_micro_usd,
            };
            let spend =
                ProviderSpend { day: window(day.0, day.1, 100), month: window(month, 0, 1_000), ..Default::default() };
            used_up(&spend, &settings)
        };
        assert_eq!(of((40, 30), 70), None, "thirty are left, and that is enough");
        assert_eq!(of((41, 30), 71), Some(SpendWindow::Day), "what is set aside counts");
        assert_eq!(of((0, 0), 971), Some(SpendWindow::Month));
        assert_eq!(of((100, 0), 971), Some(SpendWindow::Month), "tomorrow it is no better");
    }
}
