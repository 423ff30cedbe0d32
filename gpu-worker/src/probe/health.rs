//! When a GPU is fit to draw: what counts as a fault, and when it is over. Pure: it is told readings, XID errors and
//! the time. It must not know NVML.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tintype_types::worker::UnwellReason;

/// After a fault a GPU must read well this long before it gets work again.
const QUIET: Duration = Duration::from_secs(5);
/// Each fault after a recovery doubles that, up to this: a GPU that keeps failing costs few jobs.
const QUIET_MAX: Duration = Duration::from_mins(10);
/// A GPU that was well this long has its earlier faults forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_hours(1);
/// A GPU that was too hot gets work again this many degrees below the threshold, not at it.
const COOLER_BY: u32 = 5;
/// From this part of its memory on, what other processes hold of a GPU is too much: models would not find their room.
const FOREIGN_PART: u64 = 8;
/// XID errors that what was drawn can bring about: an illegal address, a kernel that does not end (NVIDIA, "XID Errors").
const XIDS_OF_WORK: [u64; 6] = [13, 31, 43, 45, 68, 69];
/// XID errors of a GPU's memory: what it computed lately may be wrong.
const XIDS_OF_MEMORY: [u64; 7] = [48, 63, 64, 92, 94, 95, 140];

/// What befell a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The driver reported a critical XID error.
    Xid,
    /// Memory errors beyond repair.
    Ecc,
    /// It does not answer any more.
    Lost,
    /// It was cut into other MIG devices than those this process was started on.
    Recut,
}

/// What a trouble means for the job that is being drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toll {
    /// What was drawn may have brought it about, so the attempt has failed: a job that breaks GPUs must not go on for ever.
    Failure,
    /// The job is given back and goes on elsewhere from the last whole step, whose numbers lie in the host's memory.
    GivenBack,
    /// The job is given back, and what was computed lately is not to be trusted: it goes on from what is in the store.
    Distrusted,
}

impl FaultKind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Xid, Self::Ecc, Self::Lost, Self::Recut];

    /// Why a worker takes no work because of it.
    pub fn reason(self) -> UnwellReason {
        match self {
            Self::Xid => UnwellReason::Xid,
            Self::Ecc => UnwellReason::Ecc,
            Self::Lost => UnwellReason::Lost,
            Self::Recut => UnwellReason::Recut,
        }
    }

    /// As a label says it.
    pub fn as_str(self) -> &'static str {
        self.reason().as_str()
    }
}

/// How the GPUs fare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Faults of all GPUs since the start, by kind.
    pub faults: BTreeMap<FaultKind, u32>,
    /// What keeps the GPU that draws from taking work; nothing when it is well.
    pub trouble: Option<Trouble>,
}

/// Why a GPU gets no work. Its text names the GPU's trouble and what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What it draws now cannot be trusted, or will not end.
    Fault {
        /// What befell it.
        kind: FaultKind,
        /// In words, such as `reported XID 79`.
        what: String,
        /// What it means for the job.
        toll: Toll,
    },
    /// It slows itself down, so that another GPU draws faster.
    Hot {
        /// From these degrees Celsius on it slows itself down, where it says so.
        slowdown_celsius: Option<u32>,
    },
    /// Others compute on it.
    Crowded {
        /// Memory they hold, in bytes.
        bytes: u64,
    },
}

impl Trouble {
    /// In a word.
    pub fn reason(&self) -> UnwellReason {
        match self {
            Self::Fault { kind, .. } => kind.reason(),
            Self::Hot { .. } => UnwellReason::Hot,
            Self::Crowded { .. } => UnwellReason::Crowded,
        }
    }

    /// What it means for the job that is being drawn.
    pub fn toll(&self) -> Toll {
        match self {
            Self::Fault { toll, .. } => *toll,
            Self::Hot { .. } | Self::Crowded { .. } => Toll::GivenBack,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { what, .. } => write!(f, "the GPU {what}; it gets no work until it reads well again"),
            Self::Hot { slowdown_celsius: Some(limit) } => {
                write!(f, "the GPU is too hot (its limit is {limit} °C); it gets no work until it has cooled")
            }
            Self::Hot { slowdown_celsius: None } => {
                f.write_str("the GPU is so hot that it slows itself down; it gets no work until it has cooled")
            }
            Self::Crowded { bytes } => write!(
                f,
                "other processes hold {} MiB of the GPU; it gets no work until they are gone (--share-gpu lets them be)",
                bytes >> 20
            ),
        }
    }
}

/// What a GPU that answers says of its health; what it cannot tell is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vitals {
    /// ECC errors beyond repair since the driver was loaded.
    pub(super) ecc_uncorrected: Option<u64>,
    /// A page waits for a reset of the GPU to be taken out of use.
    pub(super) retirement_pending: bool,
    pub(super) celsius: Option<u32>,
    pub(super) slowdown_celsius: Option<u32>,
    /// It slows itself down because of heat.
    pub(super) slowed_by_heat: bool,
    pub(super) memory_bytes: u64,
    /// What other processes hold of it, in bytes; 0 where they may.
    pub(super) foreign_bytes: u64,
}

/// The history of one GPU.
#[derive(Debug, Default)]
pub(super) struct Ward {
    /// XID errors since the start.
    pub(super) xids: u32,
    /// The number of the last one, where it is known.
    pub(super) last_xid: Option<u64>,
    faults: BTreeMap<FaultKind, u32>,
    current: Option<Fault>,
    /// End of the last fault and how long it had to be quiet.
    recovered: Option<(Instant, Duration)>,
    ecc: Option<u64>,
    lost: bool,
    hot: bool,
    slowdown_celsius: Option<u32>,
    /// What others hold of it, while that is too much.
    crowded: Option<u64>,
}

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    what: String,
    toll: Toll,
    /// When it was last bad.
    at: Instant,
    quiet: Duration,
}

impl Ward {
    /// The driver reported an XID error of this number, where it knows it.
    pub(super) fn xid(&mut self, number: Option<u64>, now: Instant) {
        self.xids = self.xids.saturating_add(1);
        self.last_xid = number;
        let what = number.map_or_else(|| "reported an XID error".to_owned(), |xid| format!("reported XID {xid}"));
        let toll = match number {
            Some(number) if XIDS_OF_MEMORY.contains(&number) => Toll::Distrusted,
            Some(number) if !XIDS_OF_WORK.contains(&number) => Toll::GivenBack,
            Some(_) | None => Toll::Failure,
        };
        self.fault((FaultKind::Xid, toll), what, now);
    }

    /// It was cut into other MIG devices.
    pub(super) fn recut(&mut self, now: Instant) {
        let what = "was cut into other MIG devices; restart this worker to use them".to_owned();
        self.fault((FaultKind::Recut, Toll::GivenBack), what, now);
    }

    /// It did not answer.
    pub(super) fn lost(&mut self, now: Instant) {
        if !self.lost {
            self.lost = true;
            self.fault((FaultKind::Lost, Toll::GivenBack), "does not answer any more".to_owned(), now);
        }
        self.still_bad(now);
    }

    /// It answered.
    pub(super) fn reads(&mut self, vitals: Vitals, now: Instant) {
        self.lost = false;
        let before = std::mem::replace(&mut self.ecc, vitals.ecc_uncorrected);
        if let (Some(before), Some(count)) = (before, vitals.ecc_uncorrected)
            && count > before
        {
            let what = "has memory errors that ECC could not repair".to_owned();
            self.fault((FaultKind::Ecc, Toll::Distrusted), what, now);
        }
        if vitals.retirement_pending {
            self.still_bad(now);
        }
        self.hot = too_hot(self.hot, vitals);
        self.slowdown_celsius = vitals.slowdown_celsius;
        let crowded = vitals.foreign_bytes > 0 && vitals.foreign_bytes >= vitals.memory_bytes / FOREIGN_PART;
        self.crowded = crowded.then_some(vitals.foreign_bytes);
        if self.current.as_ref().is_some_and(|fault| now.duration_since(fault.at) >= fault.quiet) {
            self.recovered = self.current.take().map(|fault| (now, fault.quiet));
        }
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        let fault =
            |Fault { kind, what, toll, .. }: &Fault| Trouble::Fault { kind: *kind, what: what.clone(), toll: *toll };
        let hot = || self.hot.then_some(Trouble::Hot { slowdown_celsius: self.slowdown_celsius });
        let crowded = || self.crowded.map(|bytes| Trouble::Crowded { bytes });
        self.current.as_ref().map(fault).or_else(hot).or_else(crowded)
    }

    fn fault(&mut self, (kind, toll): (FaultKind, Toll), what: String, now: Instant) {
        let count = self.faults.entry(kind).or_insert(0);
        *count = count.saturating_add(1);
        let quiet = match (&self.current, self.recovered) {
            (Some(fault), _) => fault.quiet,
            (None, Some((end, quiet))) if now.duration_since(end) < FORGIVEN_AFTER => (quiet * 2).min(QUIET_MAX),
            (None, _) => QUIET,
        };
        self.current = Some(Fault { kind, what, toll, at: now, quiet });
    }

    /// The time in which it must be quiet has not begun.
    fn still_bad(&mut self, now: Instant) {
        if let Some(fault) = &mut self.current {
            fault.at = now;
        }
    }
}

/// Whether it is above the threshold, or was and has not yet cooled well below.
fn too_hot(before: bool, vitals: Vitals) -> bool {
    let margin = if before { COOLER_BY } else { 0 };
    let limits = vitals.celsius.zip(vitals.slowdown_celsius);
    // Newer drivers keep the threshold to themselves, and still say that they slow down.
    vitals.slowed_by_heat || limits.is_some_and(|(celsius, slowdown)| celsius + margin >= slowdown)
}

/// Faults of all GPUs, and the trouble of the one in use.
pub(super) fn summary<'a>(wards: impl Iterator<Item = &'a Ward>, in_use: Option<&Ward>) -> Health {
    let mut faults = BTreeMap::new();
    for (kind, count) in wards.flat_map(|ward| &ward.faults) {
        let sum: &mut u32 = faults.entry(*kind).or_insert(0);
        *sum = sum.saturating_add(*count);
    }
    Health { faults, trouble: in_use.and_then(Ward::trouble) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Vitals = Vitals {
        ecc_uncorrected: Some(2),
        retirement_pending: false,
        celsius: Some(60),
        slowdown_celsius: Some(90),
        slowed_by_heat: false,
        memory_bytes: 24 << 30,
        foreign_bytes: 0,
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn kind(ward: &Ward) -> Option<FaultKind> {
        match ward.trouble()? {
            Trouble::Fault { kind, .. } => Some(kind),
            Trouble::Hot { .. } | Trouble::Crowded { .. } => None,
        }
    }

    #[test]
    fn a_fault_is_over_when_it_has_been_quiet() {
        let (mut ward, start) = (Ward::default(), Instant::now());
        ward.reads(WELL, start);
        assert_eq!(ward.trouble(), None);
        ward.xid(Some(31), start + SECOND);
        assert!(ward.trouble().unwrap().to_string().contains("XID 31"));
        ward.reads(WELL, start + QUIET);
        assert_eq!(kind(&ward), Some(FaultKind::Xid));
        ward.reads(WELL, start + SECOND + QUIET);
        assert_eq!((kind(&ward), ward.xids), (None, 1));
    }

    #[test]
    fn a_lost_gpu_counts_once_and_the_quiet_begins_with_its_return() {
        let (mut ward, start) = (Ward::default(), Instant::now());
        for second in 0..100 {
            ward.lost(start + SECOND * second);
        }
        let back = start + SECOND * 99;
        ward.reads(WELL, back + SECOND);
        assert_eq!(kind(&ward), Some(FaultKind::Lost));
        ward.reads(WELL, back + QUIET);
        assert_eq!((kind(&ward), ward.faults[&FaultKind::Lost]), (None, 1));
    }

    #[test]
    fn ecc_counts_from_the_first_reading_and_a_pending_page_holds_the_fault() {
        let (mut ward, start) = (Ward::default(), Instant::now());
        ward.reads(Vitals { retirement_pending: true, ..WELL }, start);
        assert_eq!(ward.trouble(), None, "errors from before the start are not ours");
        let worse = Vitals { ecc_uncorrected: Some(3), retirement_pending: true, ..WELL };
        ward.reads(worse, start);
        assert_eq!(kind(&ward), Some(FaultKind::Ecc));
        ward.reads(worse, start + QUIET * 3);
        assert_eq!(kind(&ward), Some(FaultKind::Ecc));
        // A reset takes the page out of use and starts the count anew.
        let reset = Vitals { ecc_uncorrected: Some(0), ..WELL };
        ward.reads(reset, start + QUIET * 4);
        assert_eq!((kind(&ward), ward.faults[&FaultKind::Ecc]), (None, 1));
    }

    #[test]
    fn a_gpu_that_keeps_failing_waits_longer_and_is_forgiven_later() {
        let (mut ward, mut now) = (Ward::default(), Instant::now());
        let mut waited = |ward: &mut Ward| {
            ward.xid(Some(43), now);
            let began = now;
            while ward.trouble().is_some() {
                now += SECOND;
                ward.reads(WELL, now);
            }
            now - began
        };
        let times: Vec<_> = (0..10).map(|_| waited(&mut ward).as_secs()).collect();
        assert_eq!(times, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        let later = now + FORGIVEN_AFTER;
        ward.xid(Some(43), later);
        ward.reads(WELL, later + QUIET);
        assert_eq!(ward.trouble(), None);
    }

    #[test]
    fn heat_is_no_fault_and_ends_well_below_the_threshold() {
        let (mut ward, now) = (Ward::default(), Instant::now());
        for (celsius, hot) in [(89, false), (90, true), (86, true), (85, true), (84, false), (89, false)] {
            ward.reads(Vitals { celsius: Some(celsius), ..WELL }, now);
            assert_eq!(ward.trouble().is_some(), hot, "at {celsius}");
            assert_eq!(kind(&ward), None);
        }
        let unsaid = Vitals { slowdown_celsius: None, slowed_by_heat: true, ..WELL };
        ward.reads(unsaid, now);
        assert_eq!(ward.trouble(), Some(Trouble::Hot { slowdown_celsius: None }));
        ward.reads(Vitals { celsius: None, slowdown_celsius: None, ..WELL }, now);
        assert_eq!(ward.trouble(), None);
    }

    #[test]
    fn a_fault_costs_the_attempt_the_last_step_or_nothing_by_whose_it_is() {
        let toll = |xid| {
            let mut ward = Ward::default();
            ward.xid(xid, Instant::now());
            ward.trouble().unwrap().toll()
        };
        for xid in [79, 74, 119] {
            assert_eq!(toll(Some(xid)), Toll::GivenBack, "{xid}");
        }
        for xid in [48, 94, 95] {
            assert_eq!(toll(Some(xid)), Toll::Distrusted, "{xid}");
        }
        // A job that reads past its memory does so on every GPU; one nobody knows may.
        for xid in [Some(13), Some(31), Some(43), None] {
            assert_eq!(toll(xid), Toll::Failure, "{xid:?}");
        }
    }

    #[test]
    fn others_are_too_many_from_an_eighth_of_the_memory_on() {
        let (mut ward, now) = (Ward::default(), Instant::now());
        for (gib, crowded) in [(0, false), (2, false), (3, true), (20, true), (1, false)] {
            ward.reads(Vitals { foreign_bytes: gib << 30, ..WELL }, now);
            assert_eq!(ward.trouble().is_some(), crowded, "{gib} GiB");
        }
        ward.reads(Vitals { foreign_bytes: 4 << 30, ..WELL }, now);
        assert!(ward.trouble().unwrap().to_string().contains("4096 MiB"));
        ward.reads(Vitals { foreign_bytes: 4 << 30, celsius: Some(99), ..WELL }, now);
        assert!(matches!(ward.trouble(), Some(Trouble::Hot { .. })), "one trouble at a time, the worse first");
    }

    #[test]
    fn all_gpus_are_counted_and_the_one_in_use_judged() {
        let (mut other, mine, now) = (Ward::default(), Ward::default(), Instant::now());
        other.xid(None, now);
        let health = summary([&other, &mine].into_iter(), Some(&mine));
        assert_eq!((health.faults[&FaultKind::Xid], health.trouble), (1, None));
    }
}
