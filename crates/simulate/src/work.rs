//! The work of a standard replay: a trace at a speed, with what each request costs and when it should be done.

use std::collections::BTreeMap;

use crate::{Latencies, Trace};

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// In order of arrival; the place is the request's number.
    pub requests: Vec<Request>,
    /// Models, by number.
    pub models: Vec<Model>,
    /// Queues, by number: one for each group that asked.
    pub queues: Vec<String>,
    /// Rows of the trace left out because a cell that matters was empty.
    pub skipped: usize,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it arrives, in milliseconds from the first.
    pub arrival_ms: u64,
    /// By when it should be done.
    pub deadline_ms: u64,
    /// Denoising steps.
    pub steps: u32,
    /// Pictures.
    pub images: u32,
    /// LoRAs.
    pub loras: u32,
    /// The part that does not grow with steps.
    pub fixed_ms: u64,
    /// One step of all its pictures.
    pub step_ms: u64,
    /// Its model's number.
    pub model: usize,
    /// Its queue's number.
    pub queue: usize,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// How long loading it takes.
    pub load_ms: u64,
}

/// The GPUs it is done on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// How many.
    pub gpus: usize,
}

/// The speed makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the speed must be a number from 0.001 to 1,000,000")]
pub struct SpeedError;

impl Request {
    /// How long it runs where its model is resident.
    pub fn service_ms(&self) -> u64 {
        self.fixed_ms + u64::from(self.steps) * self.step_ms
    }
}

impl Work {
    /// The trace at `speed` times its own pace. Arrivals are rounded up and deadlines down to a whole millisecond, so
    /// that nothing is easier than the exact replay.
    pub fn new(trace: &Trace, latencies: &Latencies, speed: f64) -> Result<Self, SpeedError> {
        if !(0.001..=1e6).contains(&speed) {
            return Err(SpeedError);
        }
        let first = trace.asked.first().map_or(0, |asked| asked.arrived);
        let (mut models, mut queues) = (Names::default(), Names::default());
        let requests = trace.asked.iter().map(|asked| {
            let arrival = (asked.arrived - first) as f64 * 1_000.0 / speed;
            let request = Request {
                arrival_ms: arrival.ceil() as u64,
                deadline_ms: 0,
                steps: asked.steps,
                images: asked.images,
                loras: asked.loras,
                fixed_ms: 3_000 + 4_378 * u64::from(asked.loras),
                step_ms: 200 + 50 * u64::from(asked.images),
                model: models.number(&asked.model),
                queue: queues.number(&asked.queue),
            };
            Request { deadline_ms: arrival.floor() as u64 + 3 * request.service_ms() + 10_000, ..request }
        });
        let requests = requests.collect();
        let model = |name: String| Model { load_ms: latencies.load_ms(&name), name };
        Ok(Self {
            requests,
            models: models.names.into_iter().map(model).collect(),
            queues: queues.names,
            skipped: trace.skipped,
        })
    }
}

/// Numbers names in the order they are first met.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}
