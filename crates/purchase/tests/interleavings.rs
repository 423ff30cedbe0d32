//! Whatever is lost, said twice or late, whoever crashes between two steps, and however clocks jump: no budget is
//! overdrawn, nothing is sent twice, and a job is paid once at most. The adapters here keep the order the crate asks
//! for: the changed book is kept first, compared with what is kept already, and what it allows is done second.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::sample::Index;
use tintype_purchase::{Book, Caps, Day, Event, MicroUsd, Next, Order, Price, Window};
use tintype_types::{JobId, PoolName, Timestamp};

const CAPS: Caps = Caps { day: MicroUsd(250), month: MicroUsd(400) };
/// Two adapters of one pool, as when a node is cut off and its pod runs on, and one of another pool.
const POOLS: [&str; 3] = ["a", "a", "b"];
const JOBS: usize = 6;
const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Debug)]
enum Op {
    /// An attempt of a job does its next step; the adapter may crash on the way.
    Step {
        adapter: usize,
        job: usize,
        fate: Fate,
        crash: Crash,
    },
    /// An answer comes in, once or twice.
    Answer {
        adapter: usize,
        which: Index,
        again: bool,
    },
    /// An adapter starts anew.
    Crash {
        adapter: usize,
    },
    /// The provider tells of a purchase unasked.
    Webhook {
        which: Index,
    },
    /// The provider goes on with a purchase.
    Work {
        which: Index,
        percent: u64,
        fails: bool,
    },
    Clock {
        by_ms: i64,
    },
    Age {
        adapter: usize,
    },
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    TakenAnswerLost,
    LostOnTheWay,
    Refused,
    /// Of a look-up: the provider does not show it yet. Of a hand-over: it is not heard.
    Unseen,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    No,
    BeforeKept,
    AfterKept,
}

/// A purchase as the provider has it.
#[derive(Debug)]
struct Bought {
    job: usize,
    number: u64,
    id: String,
    /// What it is charged once it has ended.
    ended: Option<(u64, bool)>,
}

/// What was asked for: what the provider may charge for it at most, and the day it counts into.
#[derive(Debug)]
struct Planned {
    pool: &'static str,
    day: Day,
    possible: u64,
}

#[derive(Default)]
struct World {
    now: i64,
    kept: Book,
    version: u64,
    adapters: Vec<Adapter>,
    bought: Vec<Bought>,
    planned: BTreeMap<u64, Planned>,
    sends: BTreeMap<u64, u32>,
    over: [bool; JOBS],
}

#[derive(Default)]
struct Adapter {
    book: Book,
    version: u64,
    answers: VecDeque<(usize, u64, Event)>,
}

impl World {
    fn new() -> Self {
        Self {
            now: 20_000 * DAY_MS + 3 * DAY_MS / 4,
            adapters: (0..3).map(|_| Adapter::default()).collect(),
            ..Self::default()
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now as u64)
    }

    /// Changes the book in the adapter's hands and keeps it; where another was kept meanwhile, decides again from that.
    /// Answers whether it may be acted on.
    fn change(&mut self, adapter: usize, crash: Crash, change: impl Fn(&mut Book) -> bool) -> bool {
        if crash == Crash::BeforeKept {
            return false;
        }
        for _ in 0..2 {
            let mine = &mut self.adapters[adapter];
            let mut book = mine.book.clone();
            let changed = change(&mut book);
            if mine.version == self.version {
                if changed {
                    self.version += 1;
                    self.kept = book.clone();
                    (mine.book, mine.version) = (book, self.version);
                }
                return changed && crash == Crash::No;
            }
            (mine.book, mine.version) = (self.kept.clone(), self.version);
        }
        unreachable!("the copy was fetched just now");
    }

    fn crash(&mut self, adapter: usize) {
        self.adapters[adapter] = Adapter { book: self.kept.clone(), version: self.version, answers: VecDeque::new() };
        let pool = PoolName::from(POOLS[adapter]);
        self.change(adapter, Crash::No, |book| {
            book.restarted(&pool);
            true
        });
    }

    fn hear(&mut self, adapter: usize, job: usize, number: u64, event: &Event) -> bool {
        self.change(adapter, Crash::No, |book| book.apply(&name(job), number, event.clone()).is_ok())
    }

    fn step(&mut self, adapter: usize, job: usize, fate: Fate, crash: Crash) {
        let (pool, at) = (POOLS[adapter], self.at());
        let number = self.adapters[adapter].book.get(&name(job)).map_or(0, |intent| intent.number);
        // An intent of another pool is not this adapter's to act on; planning says so.
        let elsewhere = self.adapters[adapter].book.get(&name(job)).is_some_and(|intent| intent.pool.as_str() != pool);
        match self.adapters[adapter].book.next(&name(job)) {
            next if elsewhere || next == Next::Plan => {
                let possible = MicroUsd(60 + 10 * job as u64);
                let order = Order {
                    job: name(job),
                    pool: pool.into(),
                    digest: String::new(),
                    price: Price::PerImage(possible),
                    possible,
                };
                self.change(adapter, crash, |book| book.plan(at, order.clone(), CAPS).is_ok());
                if let Some(intent) = self.kept.get(&name(job)) {
                    let pool = if intent.pool.as_str() == "a" { "a" } else { "b" };
                    let planned = Planned { pool, day: Day::of(intent.at), possible: intent.possible.0 };
                    self.planned.entry(intent.number).or_insert(planned);
                }
            }
            Next::Submit => {
                if self.change(adapter, crash, |book| book.apply(&name(job), number, Event::Submitting).is_ok()) {
                    self.send(adapter, job, number, fate);
                }
            }
            Next::LookUp => {
                let found = self.bought.iter().find(|bought| bought.number == number && fate != Fate::Unseen);
                if let Some(id) = found.map(|bought| bought.id.clone()) {
                    self.hear(adapter, job, number, &Event::Accepted { id });
                }
            }
            Next::Poll { id } => {
                let ended = self.bought.iter().find(|bought| bought.id == id).unwrap().ended;
                let event = match ended {
                    None => Event::Began,
                    Some((cost, true)) => Event::Failed { cost: MicroUsd(cost), why: "it failed".to_owned() },
                    Some((cost, false)) => Event::Succeeded { cost: MicroUsd(cost) },
                };
                self.hear(adapter, job, number, &event);
            }
            Next::Deliver { .. } | Next::Report { .. } => {
                // The dispatcher may have heard the end, and the adapter not that it did.
                if fate != Fate::Unseen {
                    self.over[job] = true;
                    if fate == Fate::Answered {
                        self.hear(adapter, job, number, &Event::Delivered);
                    }
                }
            }
            Next::Plan | Next::Wait => {}
        }
        if crash != Crash::No {
            self.crash(adapter);
        }
    }

    fn send(&mut self, adapter: usize, job: usize, number: u64, fate: Fate) {
        *self.sends.entry(number).or_default() += 1;
        let id = format!("p{}", self.bought.len());
        if matches!(fate, Fate::Answered | Fate::TakenAnswerLost | Fate::Unseen) {
            self.bought.push(Bought { job, number, id: id.clone(), ended: None });
        }
        let event = match fate {
            Fate::Answered => Event::Accepted { id },
            Fate::Refused => Event::Refused,
            Fate::TakenAnswerLost | Fate::LostOnTheWay | Fate::Unseen => Event::AnswerLost,
        };
        self.adapters[adapter].answers.push_back((job, number, event));
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Step { adapter, job, fate, crash } if !self.over[job] => self.step(adapter, job, fate, crash),
            Op::Answer { adapter, which, again } => {
                let answers = &mut self.adapters[adapter].answers;
                if !answers.is_empty() {
                    let (job, number, event) = answers.remove(which.index(answers.len())).unwrap();
                    self.hear(adapter, job, number, &event);
                    if again {
                        self.hear(adapter, job, number, &event);
                    }
                }
            }
            Op::Crash { adapter } => self.crash(adapter),
            Op::Webhook { which } if !self.bought.is_empty() => {
                let Bought { job, number, id, .. } = &self.bought[which.index(self.bought.len())];
                let (job, number, id) = (*job, *number, id.clone());
                let adapter = if self.planned[&number].pool == "a" { 0 } else { 2 };
                self.hear(adapter, job, number, &Event::Accepted { id });
            }
            Op::Work { which, percent, fails } if !self.bought.is_empty() => {
                let which = which.index(self.bought.len());
                let possible = self.planned[&self.bought[which].number].possible;
                self.bought[which].ended.get_or_insert((possible * percent / 100, fails));
            }
            Op::Step { .. } | Op::Webhook { .. } | Op::Work { .. } => {}
            Op::Clock { by_ms } => self.now = (self.now + by_ms).max(0),
            Op::Age { adapter } => {
                let at = self.at();
                self.change(adapter, Crash::No, |book| {
                    book.age(at);
                    true
                });
            }
        }
    }

    fn check(&self) {
        for (number, sends) in &self.sends {
            assert!(*sends <= 1, "purchase {number} was sent {sends} times");
        }
        for job in 0..JOBS {
            let paid = self.bought.iter().filter(|bought| bought.job == job).count();
            assert!(paid <= 1, "job {job} was bought {paid} times");
        }
        let mut last = Day(0);
        for planned in self.planned.values() {
            assert!(planned.day >= last, "a budget of a day gone by was opened again");
            last = planned.day;
        }
        for pool in ["a", "b"] {
            // What the provider has charged, and may still for what it has, by the day it was planned on.
            let mut days = BTreeMap::<Day, u64>::new();
            for bought in &self.bought {
                let planned = &self.planned[&bought.number];
                if planned.pool == pool {
                    *days.entry(planned.day).or_default() += bought.ended.map_or(planned.possible, |(cost, _)| cost);
                }
            }
            let mut months = BTreeMap::<_, u64>::new();
            for (day, charged) in &days {
                assert!(*charged <= CAPS.day.0, "{charged} on day {day:?} of pool {pool}");
                *months.entry(day.month()).or_default() += charged;
            }
            assert!(months.values().all(|charged| *charged <= CAPS.month.0), "{months:?} of pool {pool}");
            let at = self.at();
            for (window, cap) in [(Window::Day, CAPS.day), (Window::Month, CAPS.month)] {
                let total = self.kept.spend(&pool.into(), window, at).total();
                assert!(total <= cap, "the book says {total:?} in a {window:?} of pool {pool}");
            }
            // The book never believes that less was spent than was.
            let day = Day::of(at).max(last);
            let charged = [(Window::Day, days.get(&day).copied()), (Window::Month, months.get(&day.month()).copied())];
            for (window, charged) in charged {
                let book = self.kept.spend(&pool.into(), window, at).total().0;
                assert!(book >= charged.unwrap_or(0), "the book has forgotten what was bought for {pool}");
            }
        }
    }
}

fn name(job: usize) -> JobId {
    JobId(format!("job-{job}"))
}

fn op() -> impl Strategy<Value = Op> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        2 => Just(Fate::TakenAnswerLost),
        1 => Just(Fate::LostOnTheWay),
        2 => Just(Fate::Refused),
        1 => Just(Fate::Unseen),
    ];
    let crash = prop_oneof![6 => Just(Crash::No), 1 => Just(Crash::BeforeKept), 1 => Just(Crash::AfterKept)];
    prop_oneof![
        12 => (0..3_usize, 0..JOBS, fate, crash)
            .prop_map(|(adapter, job, fate, crash)| Op::Step { adapter, job, fate, crash }),
        4 => (0..3_usize, any::<Index>(), any::<bool>())
            .prop_map(|(adapter, which, again)| Op::Answer { adapter, which, again }),
        1 => (0..3_usize).prop_map(|adapter| Op::Crash { adapter }),
        2 => any::<Index>().prop_map(|which| Op::Webhook { which }),
        4 => (any::<Index>(), 0..=100_u64, any::<bool>())
            .prop_map(|(which, percent, fails)| Op::Work { which, percent, fails }),
        1 => (-2 * DAY_MS..12 * DAY_MS).prop_map(|by_ms| Op::Clock { by_ms }),
        1 => (0..3_usize).prop_map(|adapter| Op::Age { adapter }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_budget_is_overdrawn_and_nothing_is_bought_twice(ops in prop::collection::vec(op(), 1..240)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
            world.check();
        }
        let text = serde_json::to_string(&world.kept).unwrap();
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), world.kept, "a kept book reads as it was written");
    }
}
