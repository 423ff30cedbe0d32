//! What bringing something into memory cost: time, memory, and whether a disk had to be read.

use std::time::{Duration, Instant};

use tintype_types::worker::Tier;

/// Runs from the start of a load to its end.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    from_disk: u64,
    memory: u64,
}

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) took: Duration,
    pub(super) tier: Tier,
    /// By how much the process grew, in bytes; 0 on a device with memory of its own.
    pub(super) grown: u64,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), from_disk: read_from_disk(), memory: memory() }
    }

    /// `stored` is how many bytes the files have. What others in this process read meanwhile counts as well; half of the
    /// files is far more than that.
    pub(super) fn end(self, stored: u64) -> Load {
        let from_disk = read_from_disk().saturating_sub(self.from_disk);
        let tier = if from_disk.saturating_mul(2) > stored { Tier::Disk } else { Tier::PageCache };
        Load { took: self.started.elapsed(), tier, grown: memory().saturating_sub(self.memory) }
    }
}

/// Bytes the system fetched from disks for this process; 0 where it does not say.
fn read_from_disk() -> u64 {
    let about = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = about.lines().find_map(|line| line.strip_prefix("read_bytes:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Memory of this process that is in use, in bytes; 0 where the system does not say.
fn memory() -> u64 {
    let about = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = about.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
