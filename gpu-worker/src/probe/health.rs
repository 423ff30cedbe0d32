//! When a GPU is fit to draw: what counts as a fault, and when it is over. Pure: it is told readings, XID errors and
//! the time. It must not know NVML.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// After a fault a GPU must read well this long before it gets work again.
const QUIET: Duration = Duration::from_secs(5);
/// Each fault after a recovery doubles that, up to this: a GPU that keeps failing costs few jobs.
const QUIET_MAX: Duration = Duration::from_mins(10);
/// A GPU that was well this long has its earlier faults forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_hours(1);
/// A GPU that was too hot gets work again this many degrees below the threshold, not at it.
const COOLER_BY: u32 = 5;

/// What befell a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The driver reported a critical XID error.
    Xid,
    /// Memory errors beyond repair.
    Ecc,
    /// It does not answer any more.
    Lost,
}

impl FaultKind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Xid, Self::Ecc, Self::Lost];

    /// As a label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xid => "xid",
            Self::Ecc => "ecc",
            Self::Lost => "lost",
        }
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

impl Health {
    /// The fault that the GPU in use has now.
    pub fn fault(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|trouble| matches!(trouble, Trouble::Fault { .. }))
    }
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
    },
    /// It may finish what it draws.
    Hot {
        /// From these degrees Celsius on it slows itself down, where it says so.
        slowdown_celsius: Option<u32>,
    },
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
}

/// The history of one GPU.
#[derive(Debug, Default)]
pub(super) struct Ward {
    /// XID errors since the start.
    pub(super) xids: u32,
    faults: BTreeMap<FaultKind, u32>,
    current: Option<Fault>,
    /// End of the last fault and how long it had to be quiet.
    recovered: Option<(Instant, Duration)>,
    ecc: Option<u64>,
    lost: bool,
    hot: bool,
    slowdown_celsius: Option<u32>,
}

#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    what: String,
    /// When it was last bad.
    at: Instant,
    quiet: Duration,
}

impl Ward {
    /// The driver reported an XID error of this number, where it knows it.
    pub(super) fn xid(&mut self, number: Option<u64>, now: Instant) {
        self.xids = self.xids.saturating_add(1);
        let what = number.map_or_else(|| "reported an XID error".to_owned(), |xid| format!("reported XID {xid}"));
        self.fault(FaultKind::Xid, what, now);
    }

    /// It did not answer.
    pub(super) fn lost(&mut self, now: Instant) {
        if !self.lost {
            self.lost = true;
            self.fault(FaultKind::Lost, "does not answer any more".to_owned(), now);
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
            self.fault(FaultKind::Ecc, "has memory errors that ECC could not repair".to_owned(), now);
        }
        if vitals.retirement_pending {
            self.still_bad(now);
        }
        self.hot = too_hot(self.hot, vitals);
        self.slowdown_celsius = vitals.slowdown_celsius;
        if self.current.as_ref().is_some_and(|fault| now.duration_since(fault.at) >= fault.quiet) {
            self.recovered = self.current.take().map(|fault| (now, fault.quiet));
        }
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        let fault = self.current.as_ref().map(|fault| Trouble::Fault { kind: fault.kind, what: fault.what.clone() });
        fault.or_else(|| self.hot.then_some(Trouble::Hot { slowdown_celsius: self.slowdown_celsius }))
    }

    fn fault(&mut self, kind: FaultKind, what: String, now: Instant) {
        let count = self.faults.entry(kind).or_insert(0);
        *count = count.saturating_add(1);
        let quiet = match (&self.current, self.recovered) {
            (Some(fault), _) => fault.quiet,
            (None, Some((end, quiet))) if now.duration_since(end) < FORGIVEN_AFTER => (quiet * 2).min(QUIET_MAX),
            (None, _) => QUIET,
        };
        self.current = Some(Fault { kind, what, at: now, quiet });
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
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn kind(ward: &Ward) -> Option<FaultKind> {
        match ward.trouble()? {
            Trouble::Fault { kind, .. } => Some(kind),
            Trouble::Hot { .. } => None,
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
            assert!(summary([&ward].into_iter(), Some(&ward)).fault().is_none());
        }
        let unsaid = Vitals { slowdown_celsius: None, slowed_by_heat: true, ..WELL };
        ward.reads(unsaid, now);
        assert_eq!(ward.trouble(), Some(Trouble::Hot { slowdown_celsius: None }));
        ward.reads(Vitals { celsius: None, slowdown_celsius: None, ..WELL }, now);
        assert_eq!(ward.trouble(), None);
    }

    #[test]
    fn all_gpus_are_counted_and_the_one_in_use_judged() {
        let (mut other, mine, now) = (Ward::default(), Ward::default(), Instant::now());
        other.xid(None, now);
        let health = summary([&other, &mine].into_iter(), Some(&mine));
        assert_eq!((health.faults[&FaultKind::Xid], health.trouble), (1, None));
    }
}
