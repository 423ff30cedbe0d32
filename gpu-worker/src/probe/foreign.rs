//! What other processes hold of a GPU. In a restricted pod the driver tells pids of the host, or none, which mean nothing
//! inside; what is in use beyond what this process knows to be its own says it all the same. Pure: it must not know NVML.

/// The most that the driver's context and its libraries take of a GPU besides what is loaded: some hundred MiB on all there
/// are. What others held before this process began hides in it, up to this.
const OVERHEAD_BYTES_MAX: u64 = 1 << 30;

/// What this process holds of the GPU it draws on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing yet: it starts.
    #[default]
    Nothing,
    /// So many bytes of models.
    Bytes(u64),
    /// It draws or loads, which takes now more, now less.
    Unknown,
}

/// What is known of one GPU's memory.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What is taken besides models while nobody else is there.
    overhead: u64,
    /// Whether that was learned with the context in place.
    learned: bool,
    foreign: u64,
}

impl Ledger {
    /// What others hold, by what is in use. While this process works, what was so before is taken to be so still.
    pub(super) fn by_memory(&mut self, used: u64, held: Held) -> u64 {
        let beyond = match held {
            Held::Unknown => return self.foreign,
            Held::Nothing => used,
            Held::Bytes(bytes) => used.saturating_sub(bytes),
        };
        self.overhead = match held {
            Held::Bytes(_) if !self.learned => beyond.min(OVERHEAD_BYTES_MAX),
            Held::Nothing => beyond.min(OVERHEAD_BYTES_MAX),
            Held::Bytes(_) | Held::Unknown => self.overhead,
        };
        self.learned |= matches!(held, Held::Bytes(_));
        self.foreign = beyond - self.overhead.min(beyond);
        self.foreign
    }
}

/// What others hold, by the processes the driver tells of: pid and bytes. `None` where those pids are not ours to understand:
/// this process holds something, and is not among them.
pub(super) fn by_pid(processes: &[(u32, u64)], own: u32, held: Held) -> Option<u64> {
    let seen = processes.iter().any(|(pid, _)| *pid == own);
    let holds = cfg!(feature = "cuda") || !matches!(held, Held::Nothing | Held::Bytes(0));
    let others = processes.iter().filter(|(pid, _)| *pid != own);
    (seen || !holds).then(|| others.fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_in_use_beyond_our_own_is_others() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.by_memory(300 * MIB, Held::Nothing), 0);
        assert_eq!(ledger.by_memory(800 * MIB, Held::Bytes(0)), 0, "our own context");
        assert_eq!(ledger.by_memory(4_800 * MIB, Held::Bytes(4_000 * MIB)), 0);
        assert_eq!(ledger.by_memory(9_000 * MIB, Held::Unknown), 0, "what a picture takes while it is drawn");
        assert_eq!(ledger.by_memory(6_800 * MIB, Held::Bytes(4_000 * MIB)), 2_000 * MIB);
        assert_eq!(ledger.by_memory(9_000 * MIB, Held::Unknown), 2_000 * MIB, "they are there still");
        assert_eq!(ledger.by_memory(3_000 * MIB, Held::Bytes(4_000 * MIB)), 0, "ours are smaller than they say");
    }

    #[test]
    fn who_was_there_before_us_is_seen_but_for_what_a_context_may_take() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.by_memory(6_000 * MIB, Held::Nothing), 6_000 * MIB - OVERHEAD_BYTES_MAX);
        assert_eq!(ledger.by_memory(6_000 * MIB, Held::Bytes(0)), 6_000 * MIB - OVERHEAD_BYTES_MAX);
    }

    #[test]
    fn pids_count_where_they_can_be_understood() {
        let listed = [(7, 100), (8, 30)];
        assert_eq!(by_pid(&listed, 7, Held::Bytes(100)), Some(30));
        assert_eq!(by_pid(&listed, 9, Held::Bytes(100)), None, "the host's pids");
        assert_eq!(by_pid(&[], 9, Held::Bytes(100)), None);
    }
}
