//! A schedule: who did what when, as rows an outside checker reads.

use std::fmt::Write as _;

use crate::Work;

/// What was done on each GPU, in the order it was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The rows.
    pub rows: Vec<Row>,
}

/// One thing a GPU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which GPU.
    pub worker: usize,
    /// The model loaded or run.
    pub model: usize,
    /// When it began, in milliseconds.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// What it was.
    pub doing: Doing,
}

/// Loading a model or running a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A model came into memory.
    Load {
        /// The request it was for; none when it was warmed ahead of requests.
        request: Option<usize>,
        /// The model that had to go.
        evicts: Option<usize>,
    },
    /// Steps of a request.
    Run {
        /// Which.
        request: usize,
        /// Steps done before.
        from: u32,
        /// Steps done after.
        to: u32,
    },
}

impl Schedule {
    /// The schedule as CSV: `request,worker,kind,model,start_s,end_s,from_step,to_step,evicts`.
    pub fn csv(&self, work: &Work) -> String {
        let mut out = String::from("request,worker,kind,model,start_s,end_s,from_step,to_step,evicts\n");
        for row in &self.rows {
            let (model, start, end) = (&work.models[row.model].name, seconds(row.start_ms), seconds(row.end_ms));
            let worker = row.worker;
            let _ = match row.doing {
                Doing::Load { request, evicts } => {
                    let request = request.map(|request| request.to_string()).unwrap_or_default();
                    let evicts = evicts.map_or("", |model| work.models[model].name.as_str());
                    writeln!(out, "{request},{worker},load,{model},{start},{end},,,{evicts}")
                }
                Doing::Run { request, from, to } => {
                    writeln!(out, "{request},{worker},run,{model},{start},{end},{from},{to},")
                }
            };
        }
        out
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}
