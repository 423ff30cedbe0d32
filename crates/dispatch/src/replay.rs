//! Runs a decision log through the scheduler of this version and says whether it decides the same, byte for byte.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use tintype_scheduler::{Config, Decision, Observation, Scheduler, Snapshot};
use tintype_types::Timestamp;

use crate::journal::{JOURNAL_VERSION, JOURNAL_WORD};

/// Longest line read: the state of as many jobs as a scheduler takes in has a third of it.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// How much of a decision is shown where it differs, in characters.
const SHOWN_CHARS: usize = 400;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Facts told.
    pub steps: u64,
    /// Decisions made, by their word.
    pub decisions: BTreeMap<&'static str, u64>,
    /// When the first and the last fact were told.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Bytes of decisions compared.
    pub bytes: u64,
    /// Where this scheduler first decided otherwise; the replay ended there.
    pub difference: Option<Difference>,
    /// The log breaks off in the middle of a line: its program was killed. What came before counts.
    pub torn: bool,
}

/// A step that was decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Line of the log, from 1.
    pub line: u64,
    /// What the log says was decided, in part.
    pub logged: String,
    /// What this scheduler decides, in part.
    pub decided: String,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the log cannot be read at line {line}")]
    Read {
        /// From 1.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// It does not begin as a decision log does.
    #[error("this is no decision log of version {JOURNAL_VERSION}; `--decision-log FILE` writes one")]
    Foreign,
    /// A line that says nothing.
    #[error("line {line} of the log is damaged: {what}")]
    Damaged {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Replays one file.
///
/// # Errors
/// A log that cannot be read or is none. That decisions differ is no error but what was asked.
pub fn replay(mut log: impl BufRead) -> Result<Replayed, ReplayError> {
    let mut done = Replayed::default();
    let head = next(&mut log, 1)?.ok_or(ReplayError::Foreign)?;
    let mut scheduler = begin(&head)?;
    for number in 2.. {
        let Some(line) = next(&mut log, number)? else { break };
        let Some(line) = line.strip_suffix('\n') else {
            done.torn = true;
            break;
        };
        let (now, seen, logged) = step(line, number)?;
        let decisions = scheduler.step(now, seen);
        let decided = serde_json::to_string(&decisions).map_err(|error| damaged(number, error))?;
        done.count(now, &decisions, logged.len());
        if decided != logged {
            done.difference = Some(difference(number, logged, &decided));
            break;
        }
    }
    Ok(done)
}

impl Replayed {
    fn count(&mut self, now: Timestamp, decisions: &[Decision], bytes: usize) {
        self.steps += 1;
        self.bytes += bytes as u64;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        for decision in decisions {
            *self.decisions.entry(decision.name()).or_default() += 1;
        }
    }
}

fn next(log: &mut impl BufRead, number: u64) -> Result<Option<String>, ReplayError> {
    let mut line = Vec::new();
    let read = log.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    let bytes = read.map_err(|source| ReplayError::Read { line: number, source })?;
    if bytes as u64 == LINE_BYTES_MAX {
        return Err(damaged(number, format!("it has {LINE_BYTES_MAX} bytes or more")));
    }
    let text = String::from_utf8(line).map_err(|_| damaged(number, "it is not UTF-8"))?;
    Ok((bytes > 0).then_some(text))
}

fn begin(head: &str) -> Result<Scheduler, ReplayError> {
    let mut fields = head.trim_end().split('\t');
    let known = fields.next() == Some(JOURNAL_WORD)
        && fields.next().and_then(|version| version.parse().ok()) == Some(JOURNAL_VERSION);
    let (true, Some(config), Some(state), None) = (known, fields.next(), fields.next(), fields.next()) else {
        return Err(ReplayError::Foreign);
    };
    let config: Config = serde_json::from_str(config).map_err(|error| damaged(1, error))?;
    let state: Snapshot = serde_json::from_str(state).map_err(|error| damaged(1, error))?;
    Ok(Scheduler::restore(config, state))
}

fn step(line: &str, number: u64) -> Result<(Timestamp, Observation, &str), ReplayError> {
    let fields: Vec<&str> = line.split('\t').collect();
    let ["step", now, seen, logged] = fields.as_slice() else {
        return Err(damaged(number, "it is no step"));
    };
    let now = now.parse().map_err(|_| damaged(number, "its time is no number"))?;
    let seen = serde_json::from_str(seen).map_err(|error| damaged(number, error))?;
    Ok((Timestamp(now), seen, logged))
}

fn difference(line: u64, logged: &str, decided: &str) -> Difference {
    let same = logged.char_indices().zip(decided.chars()).take_while(|((_, a), b)| a == b).last();
    let from = same.map_or(0, |((at, c), _)| at + c.len_utf8());
    let shown = |text: &str| text.get(from..).unwrap_or_default().chars().take(SHOWN_CHARS).collect();
    Difference { line, logged: shown(logged), decided: shown(decided) }
}

fn damaged(line: u64, what: impl std::fmt::Display) -> ReplayError {
    ReplayError::Damaged { line, what: what.to_string() }
}
