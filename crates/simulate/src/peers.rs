//! Policies others use, as plainly as they can be written: what ours is compared with. None preempts, and each knows
//! the true service and load times.

use std::collections::BTreeMap;

use crate::{Doing, Fleet, RESIDENT_MODELS, Row, Schedule, Work};

/// How far into the queue a warm match is looked for.
const WARM_LOOK_MAX: usize = 400;

/// A policy of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The oldest request on any free GPU.
    Fifo,
    /// The oldest request that finds its model resident on a free GPU; else the oldest on any (Ray Serve's multiplexing).
    WarmFirst,
    /// Each request, as it arrives, joins the GPU where it would finish first, loads included.
    LeastFinish,
    /// The queue with the fewest running first, its oldest request, on any free GPU (Kueue's strict FIFO queues).
    StrictQueue,
    /// The least served queue first (Virtual Token Counter, OSDI 2024), its oldest request, on any free GPU.
    Vtc,
}

impl Peer {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Fifo, Self::WarmFirst, Self::LeastFinish, Self::StrictQueue, Self::Vtc];

    /// Its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::WarmFirst => "warm-first",
            Self::LeastFinish => "least-finish",
            Self::StrictQueue => "strict-queue",
            Self::Vtc => "vtc",
        }
    }
}

/// What a peer's policy sees and changes.
struct Play<'a> {
    work: &'a Work,
    gpus: Vec<Gpu>,
    schedule: Schedule,
}

#[derive(Clone, Debug, Default)]
struct Gpu {
    free_ms: u64,
    /// Least recently used first.
    resident: Vec<usize>,
    /// Whose request it ran last.
    queue: usize,
}

/// Replays the work under a peer's policy.
pub fn run_peer(peer: Peer, work: &Work, fleet: Fleet) -> Schedule {
    let mut play = Play { work, gpus: vec![Gpu::default(); fleet.gpus.max(1)], schedule: Schedule::default() };
    if peer == Peer::LeastFinish {
        for number in 0..work.requests.len() {
            let gpu = play.least_finish(number);
            play.give(number, gpu, work.requests[number].arrival_ms);
        }
        return play.schedule;
    }
    let (mut waiting, mut next, mut now, mut served) = (Vec::new(), 0, 0_u64, Served::default());
    while next < work.requests.len() || !waiting.is_empty() {
        // The next moment anything can start: somebody waits and a GPU is free.
        let free = play.gpus.iter().map(|gpu| gpu.free_ms).min().unwrap_or_default();
        let arrival = if waiting.is_empty() { work.requests[next].arrival_ms } else { 0 };
        now = now.max(free).max(arrival);
        while next < work.requests.len() && work.requests[next].arrival_ms <= now {
            served.arrived(work.requests[next].queue);
            waiting.push(next);
            next += 1;
        }
        let (place, gpu) = play.choose(peer, &waiting, now, &served);
        let number = waiting.remove(place);
        let charge = play.give(number, gpu, now);
        served.left(work.requests[number].queue, charge);
    }
    play.schedule
}

/// What each queue was served, in GPU milliseconds, and how many it has waiting.
#[derive(Default)]
struct Served {
    queues: BTreeMap<usize, (u64, u64)>,
    floor: u64,
}

impl Served {
    /// A queue that had nothing waiting starts level with the least served that has.
    fn arrived(&mut self, queue: usize) {
        let waiting = self.queues.values().filter(|(_, waiting)| *waiting > 0);
        let least = waiting.map(|(served, _)| *served).min().unwrap_or(self.floor);
        let entry = self.queues.entry(queue).or_default();
        if entry.1 == 0 {
            entry.0 = entry.0.max(least);
        }
        entry.1 += 1;
    }

    fn left(&mut self, queue: usize, charge: u64) {
        let entry = self.queues.entry(queue).or_default();
        self.floor = self.floor.max(entry.0);
        *entry = (entry.0 + charge, entry.1.saturating_sub(1));
    }

    fn of(&self, queue: usize) -> u64 {
        self.queues.get(&queue).map_or(0, |(served, _)| *served)
    }
}

impl Play<'_> {
    /// A place in the line of waiting requests, and a free GPU.
    fn choose(&self, peer: Peer, waiting: &[usize], now: u64, served: &Served) -> (usize, usize) {
        let any = self.gpus.iter().position(|gpu| gpu.free_ms <= now).unwrap_or_default();
        let queue = |number: usize| self.work.requests[number].queue;
        let least = |key: &dyn Fn(usize) -> u64| {
            let places = waiting.iter().enumerate();
            places.min_by_key(|(place, number)| (key(queue(**number)), *place)).map_or(0, |(place, _)| place)
        };
        match peer {
            Peer::Fifo | Peer::LeastFinish => (0, any),
            Peer::WarmFirst => self.warm(waiting, now).unwrap_or((0, any)),
            Peer::StrictQueue => {
                let mut running: BTreeMap<usize, u64> = BTreeMap::new();
                for gpu in self.gpus.iter().filter(|gpu| gpu.free_ms > now) {
                    *running.entry(gpu.queue).or_default() += 1;
                }
                (least(&|queue| running.get(&queue).copied().unwrap_or_default()), any)
            }
            Peer::Vtc => (least(&|queue| served.of(queue)), any),
        }
    }

    fn warm(&self, waiting: &[usize], now: u64) -> Option<(usize, usize)> {
        waiting.iter().take(WARM_LOOK_MAX).enumerate().find_map(|(place, number)| {
            let model = self.work.requests[*number].model;
            let warm = |gpu: &Gpu| gpu.free_ms <= now && gpu.resident.contains(&model);
            Some((place, self.gpus.iter().position(warm)?))
        })
    }

    fn least_finish(&self, number: usize) -> usize {
        let request = &self.work.requests[number];
        let finish = |gpu: &Gpu| {
            let load = if gpu.resident.contains(&request.model) { 0 } else { self.work.models[request.model].load_ms };
            gpu.free_ms.max(request.arrival_ms) + load
        };
        (0..self.gpus.len()).min_by_key(|gpu| finish(&self.gpus[*gpu])).unwrap_or_default()
    }

    /// Runs a request on a GPU from when both are there; answers the GPU time it took.
    fn give(&mut self, number: usize, worker: usize, now: u64) -> u64 {
        let request = self.work.requests[number];
        let (gpu, model) = (&mut self.gpus[worker], request.model);
        let mut start_ms = gpu.free_ms.max(now);
        let begun = start_ms;
        if let Some(place) = gpu.resident.iter().position(|resident| *resident == model) {
            gpu.resident.remove(place);
        } else {
            let full = gpu.resident.len() >= RESIDENT_MODELS;
            let evicts = full.then(|| gpu.resident.remove(0));
            let end_ms = start_ms + self.work.models[model].load_ms;
            let doing = Doing::Load { request: Some(number), evicts };
            self.schedule.rows.push(Row { worker, model, start_ms, end_ms, doing });
            start_ms = end_ms;
        }
        gpu.resident.push(model);
        gpu.queue = request.queue;
        gpu.free_ms = start_ms + request.service_ms();
        let doing = Doing::Run { request: number, from: 0, to: request.steps };
        self.schedule.rows.push(Row { worker, model, start_ms, end_ms: gpu.free_ms, doing });
        gpu.free_ms - begun
    }
}
