//! Models loaded ahead of jobs: for whom, in whose place, and what a job that comes meanwhile gets.

use std::time::Duration;

use tintype_scheduler::{
    ClaimSeen, Config, Decision, JobSeen, ModelSeen, Observation, PoolSeen, Scheduler, WarmAhead, WarmStanding, WarmUp,
};
use tintype_types::worker::{Gpu, WarmUpStanding};
use tintype_types::{FailureReason, Timestamp};

const GIB: u64 = 1 << 30;
const READY: WarmUpStanding = WarmUpStanding::Ready;

/// A scheduler that knows models of 8 GiB, and what its last step advised.
struct Play {
    scheduler: Scheduler,
    now: Timestamp,
    told: Option<WarmUp>,
}

impl Play {
    fn new(warm_ahead: WarmAhead) -> Self {
        let config = Config { warm_ahead, lease: Duration::from_hours(100), ..Config::default() };
        let mut play = Self { scheduler: Scheduler::new(config), now: Timestamp(1_000), told: None };
        for name in ["a", "b", "c"] {
            play.step(Observation::Model(ModelSeen { name: name.to_owned(), vram_bytes: 8 * GIB }));
        }
        play
    }

    /// Answers which jobs went where.
    fn step(&mut self, seen: Observation) -> Vec<(String, String)> {
        let decisions = self.scheduler.step(self.now, seen);
        self.told = self.scheduler.take_warm_up();
        self.scheduler.check().expect("the invariants hold");
        let went = |decision: Decision| {
            let Decision::Assign { job, worker, .. } = decision else { return None };
            Some((job.to_string(), worker.to_string()))
        };
        decisions.into_iter().filter_map(went).collect()
    }

    fn pool(&mut self, warm: &[&str]) {
        let warm_models = warm.iter().map(|model| (*model).to_owned()).collect();
        self.step(Observation::Pool(PoolSeen { name: "p".into(), warm_models, used_up: None }));
    }

    /// A worker of 24 GiB claims that has these models and says this of its warm-ups.
    fn claim(
        &mut self,
        worker: &str,
        models: &[&str],
        said: impl Into<Option<WarmUpStanding>>,
    ) -> Vec<(String, String)> {
        self.step(Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: vec![Gpu { vram_total_bytes: 24 * GIB, ..Gpu::default() }],
            resident_models: models.iter().map(|model| (*model).to_owned()).collect(),
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: said.into(),
            unwell: None,
        }))
    }

    fn job(&mut self, id: &str, model: &str) -> Vec<(String, String)> {
        let seen = JobSeen { submitted: self.now, work_steps: 20, ..JobSeen::new(id, "q", model) };
        self.step(Observation::Job(Box::new(seen)))
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
        self.step(Observation::Tick);
    }

    /// Which worker was told to load which model, and what may go for it.
    fn told(&mut self) -> Option<(String, String, Vec<String>)> {
        self.told.take().map(|told| (told.worker.to_string(), told.model, told.evict))
    }

    fn standing(&self, model: &str) -> WarmStanding {
        let wishes = self.scheduler.overview().warm;
        wishes.into_iter().find(|wish| wish.model == model).expect("a wish of ours").standing
    }
}

fn to(worker: &str, model: &str) -> (String, String, Vec<String>) {
    (worker.to_owned(), model.to_owned(), Vec::new())
}

fn loading(model: &str) -> WarmUpStanding {
    WarmUpStanding::Loading { model: model.to_owned() }
}

fn failed(model: &str) -> WarmUpStanding {
    let (reason, message) = (FailureReason::ModelUnreadable, "it is damaged".to_owned());
    WarmUpStanding::Failed { model: model.to_owned(), reason, message }
}

#[test]
fn a_model_a_pool_wants_is_loaded_once_by_an_idle_worker_that_takes_such_orders() {
    let mut play = Play::new(WarmAhead::Never);
    play.pool(&["a"]);
    play.claim("old", &[], None);
    assert_eq!(
        (play.told(), play.standing("a")),
        (None, WarmStanding::NoWorker),
        "one that does not know how is not told"
    );
    play.claim("w1", &[], READY);
    assert_eq!(play.told(), Some(to("w1", "a")));
    assert_eq!(play.standing("a"), WarmStanding::Loading { worker: "w1".into() });
    play.claim("w1", &[], loading("a"));
    play.claim("w2", &[], READY);
    assert_eq!(play.told(), None, "one copy is enough, also while it is loaded");
    play.claim("w1", &["a"], READY);
    assert_eq!((play.told(), play.standing("a")), (None, WarmStanding::Resident));
    play.pool(&["a", "b"]);
    assert_eq!(play.told(), Some(to("w2", "b")), "the emptier one, without waiting for a claim");
}

#[test]
fn a_model_that_is_asked_for_is_never_given_up_for_a_warm_up() {
    let mut play = Play::new(WarmAhead::Never);
    play.claim("w", &["a", "b"], READY);
    assert_eq!(play.job("1", "a"), [("1".to_owned(), "w".to_owned())]);
    play.pool(&["c", "b"]);
    // The worker gave its job back; both models fill it, one is asked for and one is wanted warm.
    play.step(Observation::JobGone("1".into()));
    play.claim("w", &["a", "b"], READY);
    assert_eq!((play.told(), play.standing("c")), (None, WarmStanding::NoRoom));
    play.pool(&["c"]);
    let told = play.told().expect("b is asked for by nobody now");
    assert_eq!(told, ("w".to_owned(), "c".to_owned(), vec!["b".to_owned()]));
    assert_eq!(play.standing("c"), WarmStanding::Loading { worker: "w".into() });
}

#[test]
fn what_nobody_has_asked_for_in_days_may_go() {
    let mut play = Play::new(WarmAhead::Never);
    play.claim("w", &["a", "b"], READY);
    play.job("1", "a");
    play.step(Observation::JobGone("1".into()));
    play.pool(&["b", "c"]);
    play.claim("w", &["a", "b"], READY);
    assert_eq!(play.told(), None);
    play.now = play.now.plus(Duration::from_hours(48));
    play.claim("w", &["a", "b"], READY);
    assert_eq!(play.told(), Some(("w".to_owned(), "c".to_owned(), vec!["a".to_owned()])));
}

#[test]
fn a_job_of_another_model_goes_to_the_worker_at_once_and_one_of_that_model_waits_for_the_load() {
    let mut play = Play::new(WarmAhead::Never);
    play.pool(&["a"]);
    play.claim("w", &[], READY);
    assert_eq!(play.told(), Some(to("w", "a")));
    play.claim("w", &[], loading("a"));
    assert_eq!(play.job("same", "a"), [], "it would wait longer for a load of its own");
    assert_eq!(play.job("other", "b"), [("other".to_owned(), "w".to_owned())]);
    play.step(Observation::JobGone("other".into()));
    let superseded = WarmUpStanding::Superseded { model: "a".to_owned() };
    assert_eq!(play.claim("w", &["b"], superseded), [("same".to_owned(), "w".to_owned())]);
    assert_eq!(play.told(), None);
}

#[test]
fn a_failed_warm_up_is_left_alone_for_a_while_and_a_job_is_not_kept_from_trying() {
    let mut play = Play::new(WarmAhead::Never);
    play.pool(&["a"]);
    play.claim("w", &[], READY);
    for pause in [10, 20, 40] {
        assert_eq!(play.told(), Some(to("w", "a")));
        play.claim("w", &[], failed("a"));
        assert_eq!(play.told(), None);
        let at = play.now.plus(Duration::from_secs(pause));
        assert_eq!(play.scheduler.next_deadline().map(|(at, _)| at), Some(at), "it is not forgotten");
        let WarmStanding::Failed { reason, message, retry_at, .. } = play.standing("a") else {
            panic!("it has failed")
        };
        assert_eq!((reason, message.as_str(), retry_at), (FailureReason::ModelUnreadable, "it is damaged", at));
        play.later(Duration::from_secs(pause - 1));
        assert_eq!(play.told(), None);
        play.later(Duration::from_secs(1));
    }
    play.claim("w", &[], failed("a"));
    assert_eq!(play.job("1", "a"), [("1".to_owned(), "w".to_owned())]);
}

#[test]
fn a_load_without_an_end_is_no_longer_waited_for() {
    let mut play = Play::new(WarmAhead::Never);
    play.pool(&["a"]);
    play.claim("w", &[], READY);
    assert_eq!(play.told(), Some(to("w", "a")));
    play.claim("w", &[], loading("a"));
    assert_eq!(play.job("1", "a"), []);
    play.now = play.now.plus(Duration::from_mins(11));
    assert_eq!(play.claim("w", &[], loading("a")), [("1".to_owned(), "w".to_owned())]);
}

#[test]
fn a_worker_at_work_is_told_nothing() {
    let mut play = Play::new(WarmAhead::Never);
    play.claim("w", &["b"], READY);
    assert_eq!(play.job("1", "b"), [("1".to_owned(), "w".to_owned())]);
    play.pool(&["a"]);
    assert_eq!((play.told(), play.standing("a")), (None, WarmStanding::Busy));
}

#[test]
fn the_forecast_takes_spare_memory_alone_unless_it_may_take_more() {
    let cases = [
        (WarmAhead::Never, None, None),
        (WarmAhead::IntoSpare, Some("c"), None),
        (WarmAhead::ForGain, Some("c"), Some("b")),
    ];
    for (ahead, while_nobody_asks, once_asked_for) in cases {
        let told = |asked: &[&str]| {
            let mut play = Play::new(ahead);
            for number in 0..20 {
                play.job(&format!("a{number}"), "a");
            }
            for model in asked {
                play.job(model, model);
            }
            for number in 0..20 {
                play.step(Observation::JobGone(format!("a{number}").as_str().into()));
            }
            for model in asked {
                play.step(Observation::JobGone((*model).into()));
            }
            play.claim("w1", &["a", "b"], READY);
            play.claim("w2", &["b", "c"], READY);
            play.later(Duration::from_secs(2));
            play.told().map(|(worker, model, evict)| {
                assert_eq!((worker.as_str(), model.as_str()), ("w2", "a"));
                evict.concat()
            })
        };
        assert_eq!(told(&["b"]).as_deref(), while_nobody_asks, "{ahead:?}");
        assert_eq!(told(&["b", "c"]).as_deref(), once_asked_for, "{ahead:?}");
    }
}
