//! The decision log: everything the scheduler was told and what it answered, so that a later run can be held against it.
//!
//! A file is text, one entry a line, fields split by tabs, each field JSON:
//!
//! | line | fields |
//! |---|---|
//! | the first | `tintype-decisions`, version, configuration, the scheduler's whole state |
//! | each other | `step`, the time in milliseconds, the observation, the decisions |
//!
//! It is bounded: a full file is put aside as `FILE.1` (the one before as `FILE.2`, ...) and a new one begins, with the
//! state of that moment, so that every file can be replayed by itself. It never holds the scheduler up: when the disk is
//! slower than the facts come, a file ends early and the next one begins where there is room again. No prompt is in it,
//! as the scheduler is told none.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tintype_scheduler::{Config, Decision, Observation, Scheduler, Snapshot};
use tintype_types::Timestamp;

/// The word a log begins with.
pub const JOURNAL_WORD: &str = "tintype-decisions";
/// The version of the form above; readers refuse others.
pub const JOURNAL_VERSION: u32 = 1;
/// Usual size of a file.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Usual number of files kept beside the newest.
const OLD_FILES: u32 = 7;
/// Entries that may wait for the disk.
const ENTRIES_MAX: usize = 4_096;
/// How long a quiet log may be behind on disk.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// Where the decision log goes and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The newest file.
    pub path: PathBuf,
    /// Size at which a file is put aside, in bytes; the state at its head and the last entry come on top.
    pub bytes_max: u64,
    /// Files kept beside the newest.
    pub old_files: u32,
}

impl JournalConfig {
    /// The usual bounds: about half a gigabyte in all, a day of a busy cluster.
    pub fn at(path: PathBuf) -> Self {
        Self { path, bytes_max: FILE_BYTES_MAX, old_files: OLD_FILES }
    }
}

enum Entry {
    Begin(Box<(Config, Snapshot)>),
    Step(Timestamp, Box<Observation>, Vec<Decision>),
}

/// A log that is being written. Dropping it writes out what waits.
pub(crate) struct Journal {
    entries: Option<SyncSender<Entry>>,
    writer: Option<std::thread::JoinHandle<()>>,
    config: Config,
    /// The next entry begins a file: nothing is written yet, the last file is full, or entries were lost.
    begin: bool,
    full: Arc<AtomicBool>,
}

impl Journal {
    /// Opens the log and its writer; a file of an earlier run is put aside.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn start(to: JournalConfig, config: Config) -> io::Result<Self> {
        // Tried now, so that a wrong path is an error at the start and not a warning later.
        let files = Files::open(to)?;
        let (entries, waiting) = sync_channel(ENTRIES_MAX);
        let full = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&full);
        let writer =
            std::thread::Builder::new().name("decision-log".to_owned()).spawn(move || run(files, &waiting, &told))?;
        Ok(Self { entries: Some(entries), writer: Some(writer), config, begin: true, full })
    }

    /// One step of the scheduler, taken down.
    pub(crate) fn step(&mut self, brain: &mut Scheduler, now: Timestamp, seen: Observation) -> Vec<Decision> {
        if self.full.swap(false, Ordering::AcqRel) {
            self.begin = true;
        }
        if self.begin {
            self.begin = !self.send(Entry::Begin(Box::new((self.config.clone(), brain.snapshot()))));
        }
        if self.begin {
            return brain.step(now, seen);
        }
        let decisions = brain.step(now, seen.clone());
        self.begin = !self.send(Entry::Step(now, Box::new(seen), decisions.clone()));
        decisions
    }

    /// Whether there was room.
    fn send(&self, entry: Entry) -> bool {
        match self.entries.as_ref().map(|entries| entries.try_send(entry)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(writer) = self.writer.take() {
            // It has said in the log of the program what went wrong, if anything did.
            drop(writer.join());
        }
    }
}

/// Writes entries until nobody can send more. After a failure the rest is thrown away.
fn run(mut files: Files, entries: &Receiver<Entry>, full: &AtomicBool) {
    let mut failed = false;
    loop {
        let done = match entries.recv_timeout(FLUSH_AFTER) {
            Ok(_) | Err(RecvTimeoutError::Timeout) if failed => Ok(()),
            Ok(entry) => files.write(&entry, full),
            Err(RecvTimeoutError::Timeout) => files.out.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(error) = done {
            failed = true;
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the decision log cannot be written; it ends here"
            );
        }
    }
    if !failed && let Err(error) = files.out.flush() {
        tracing::error!(error = &error as &dyn std::error::Error, "the end of the decision log cannot be written");
    }
}

struct Files {
    to: JournalConfig,
    out: BufWriter<File>,
    bytes: u64,
}

impl Files {
    fn open(to: JournalConfig) -> io::Result<Self> {
        let out = fresh(&to)?;
        Ok(Self { to, out, bytes: 0 })
    }

    fn write(&mut self, entry: &Entry, full: &AtomicBool) -> io::Result<()> {
        let line = match entry {
            Entry::Begin(state) => {
                if self.bytes > 0 {
                    self.out.flush()?;
                    self.out = fresh(&self.to)?;
                    self.bytes = 0;
                }
                format!("{JOURNAL_WORD}\t{JOURNAL_VERSION}\t{}\t{}\n", json(&state.0)?, json(&state.1)?)
            }
            Entry::Step(now, seen, decisions) => format!("step\t{}\t{}\t{}\n", now.0, json(seen)?, json(decisions)?),
        };
        self.out.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        if matches!(entry, Entry::Step(..)) && self.bytes >= self.to.bytes_max {
            full.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// JSON has no raw tab or line end in it.
fn json(value: &impl serde::Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}

/// Puts the files there are aside and begins a new one.
fn fresh(to: &JournalConfig) -> io::Result<BufWriter<File>> {
    let old = |number: u32| {
        let mut name = to.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..to.old_files).rev() {
        move_if_there(&old(number), &old(number + 1))?;
    }
    if to.old_files > 0 {
        move_if_there(&to.path, &old(1))?;
    }
    Ok(BufWriter::new(File::create(&to.path)?))
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
