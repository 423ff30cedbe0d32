//! Which models stay in memory, within a budget. Pure: it holds whatever it is given, is told the time, and frees nothing
//! that is in use.
//!
//! What goes first is what is worth least to keep:
//!
//! ```text
//! value = load time / (bytes x time since it was last used)
//! ```
//!
//! that is, the loading that each byte saves a second, if the next use is as far ahead as the last one is behind. Load
//! time is what a miss costs; bytes are what must be given up for it; and of a thing whose uses nobody can foresee, the
//! best guess is that it will be idle about as long again as it has been. So a checkpoint from a slow disk outlives one from a fast one,
//! a small LoRA outlives a large one, and everything fades. (Greedy-Dual-Size, Cao and Irani 1997, weighs cost by size in
//! the same way and ages by order of use; we know the time, so we use it.) What is warm goes only after all that is not,
//! and what is pinned never goes.

use std::collections::BTreeMap;
use std::time::Duration;

/// Idle times below this count as this: what was used within a moment is as good as in use.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// What residents may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidentLimits {
    /// Models at a time; at least one is always kept.
    pub count: usize,
    /// Bytes of all of them; 0 is no limit.
    pub bytes: u64,
}

/// How much somebody wants one kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// While it is worth more than what wants its room.
    #[default]
    ByValue,
    /// Longer than anything that is kept by its value.
    Warm,
    /// For good.
    Pinned,
}

/// The room one takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Memory, in bytes.
    pub bytes: u64,
    /// Of how many models it counts: one, or none for what is used beside a model.
    pub heads: usize,
}

impl Need {
    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), heads: self.heads + other.heads }
    }

    fn without(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), heads: self.heads.saturating_sub(other.heads) }
    }
}

/// What one costs: measured when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The room it takes.
    pub need: Need,
    /// What loading it took.
    pub load: Duration,
}

/// There is no room, and none can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Not with everything else put out either, pinned ones apart.
    Ever {
        /// The most it could have, in bytes.
        most: u64,
    },
    /// What could go is in use.
    Now,
}

/// Things in memory.
#[derive(Debug)]
pub struct Residents<T> {
    limits: ResidentLimits,
    keep: BTreeMap<String, Keep>,
    entries: BTreeMap<String, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    cost: Cost,
    used: Duration,
    value: T,
}

impl<T> Residents<T> {
    /// Nothing yet. `keep` says which names are wanted more than by their value.
    pub fn new(limits: ResidentLimits, keep: BTreeMap<String, Keep>) -> Self {
        Self { limits, keep, entries: BTreeMap::new() }
    }

    /// Takes one to use at `now`, a time since some start.
    pub fn touch(&mut self, name: &str, now: Duration) -> Option<&T> {
        let entry = self.entries.get_mut(name)?;
        entry.used = entry.used.max(now);
        Some(&entry.value)
    }

    /// Puts out what is worth least until there is room for one more like this; gives what went. Nothing goes when room
    /// cannot be made.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn make_room(
        &mut self,
        need: Need,
        now: Duration,
        in_use: impl Fn(&T) -> bool,
    ) -> Result<Vec<(String, T)>, NoRoom> {
        let pinned = |name: &str| self.keep_of(name) == Keep::Pinned;
        let stays = self.used(|name, _| pinned(name));
        if !self.fits(stays.and(need)) {
            let heads_fit = self.fits(Need { bytes: 0, ..stays.and(need) });
            let most = if heads_fit { self.limits.bytes.saturating_sub(stays.bytes) } else { 0 };
            return Err(NoRoom::Ever { most });
        }
        let mut may_go: Vec<&String> = self
            .entries
            .iter()
            .filter(|(name, entry)| !pinned(name) && !in_use(&entry.value))
            .map(|(n, _)| n)
            .collect();
        may_go.sort_by(|a, b| {
            self.keep_of(a).cmp(&self.keep_of(b)).then(self.worth(a, now).total_cmp(&self.worth(b, now)))
        });
        let mut used = self.used(|_, _| true).and(need);
        let mut going: Vec<&String> = Vec::new();
        let mut rest = may_go.into_iter();
        while !self.fits(used) {
            let name = rest.next().ok_or(NoRoom::Now)?;
            used = used.without(self.entries[name].cost.need);
            going.push(name);
        }
        // A large one that went last may have made the small ones before it superfluous: the most valuable stay.
        let mut chosen = Vec::new();
        for name in going.into_iter().rev() {
            let back = used.and(self.entries[name].cost.need);
            if self.fits(back) {
                used = back;
            } else {
                chosen.push(name.clone());
            }
        }
        Ok(self.take(chosen))
    }

    /// Puts out of these names, in their order, as many as it takes until there is room for one more like this, also in the
    /// memory that is free on the device; gives what went. Nothing goes when room cannot be made so.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn make_room_among(
        &mut self,
        need: Need,
        may_go: &[String],
        free_bytes: u64,
        in_use: impl Fn(&T) -> bool,
    ) -> Result<Vec<(String, T)>, NoRoom> {
        let goes = |name: &&String| self.keep_of(name) == Keep::ByValue;
        let mut rest = may_go.iter().filter(goes).filter_map(|name| Some((name, self.entries.get(name)?)));
        let (mut used, mut free_bytes) = (self.used(|_, _| true).and(need), free_bytes);
        let mut going = Vec::new();
        while !self.fits(used) || need.bytes > free_bytes {
            let (name, entry) = rest.find(|(_, entry)| !in_use(&entry.value)).ok_or(NoRoom::Now)?;
            used = used.without(entry.cost.need);
            free_bytes = free_bytes.saturating_add(entry.cost.need.bytes);
            going.push(name.clone());
        }
        Ok(self.take(going))
    }

    /// Adds one that was used at `now`. [`Self::make_room`] comes first.
    pub fn insert(&mut self, name: String, cost: Cost, now: Duration, value: T) {
        self.entries.insert(name, Entry { cost, used: now, value });
    }

    /// Puts out what has not been used for this long, but for what is pinned; gives what went.
    pub fn put_out_idle(&mut self, after: Duration, now: Duration, in_use: impl Fn(&T) -> bool) -> Vec<(String, T)> {
        let idle = |entry: &Entry<T>| now.saturating_sub(entry.used) >= after && !in_use(&entry.value);
        let going = self.entries.iter().filter(|(name, entry)| self.keep_of(name) != Keep::Pinned && idle(entry));
        let going = going.map(|(name, _)| name.clone()).collect();
        self.take(going)
    }

    /// What is there and what it costs, most recently used first.
    pub fn list(&self) -> Vec<(&str, Cost, &T)> {
        let mut all: Vec<(&String, &Entry<T>)> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.used));
        all.into_iter().map(|(name, entry)| (name.as_str(), entry.cost, &entry.value)).collect()
    }

    /// Names that are to be in memory and are not, the pinned before the warm.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<(&String, Keep)> = self
            .keep
            .iter()
            .filter(|(name, keep)| **keep != Keep::ByValue && !self.entries.contains_key(*name))
            .map(|(name, keep)| (name, *keep))
            .collect();
        missing.sort_by_key(|(_, keep)| std::cmp::Reverse(*keep));
        missing.into_iter().map(|(name, _)| name.clone()).collect()
    }

    fn keep_of(&self, name: &str) -> Keep {
        self.keep.get(name).copied().unwrap_or_default()
    }

    /// Seconds of loading that each of its bytes saves a second.
    fn worth(&self, name: &str, now: Duration) -> f64 {
        let Entry { cost, used, value: _ } = &self.entries[name];
        let idle = now.saturating_sub(*used).max(IDLE_MIN).as_secs_f64();
        cost.load.as_secs_f64() / (cost.need.bytes.max(1) as f64 * idle)
    }

    fn used(&self, wanted: impl Fn(&str, &Entry<T>) -> bool) -> Need {
        let entries = self.entries.iter().filter(|(name, entry)| wanted(name, entry));
        entries.fold(Need::default(), |sum, (_, entry)| sum.and(entry.cost.need))
    }

    fn fits(&self, all: Need) -> bool {
        all.heads <= self.limits.count.max(1) && (self.limits.bytes == 0 || all.bytes <= self.limits.bytes)
    }

    fn take(&mut self, names: Vec<String>) -> Vec<(String, T)> {
        names.into_iter().filter_map(|name| self.entries.remove(&name).map(|entry| (name, entry.value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "pinned", "warm"];

    #[test]
    fn what_saves_least_loading_a_byte_and_second_goes_first() {
        let mut residents = Residents::new(ResidentLimits { count: 9, bytes: 100 }, BTreeMap::new());
        for (name, bytes, load_ms, used) in [("cheap", 30, 10, 50), ("dear", 30, 1_000, 50), ("old", 30, 100, 1)] {
            residents.insert(name.to_owned(), cost(bytes, load_ms), secs(used), ());
        }
        // At 100 s: cheap 10/(30x50), dear 1000/(30x50), old 100/(30x99).
        assert_eq!(room(&mut residents, 40), ["cheap"]);
        assert_eq!(room(&mut residents, 60), ["old"]);
        residents.touch("dear", secs(100));
        assert_eq!(residents.make_room(need(101), secs(100), |()| false).unwrap_err(), NoRoom::Ever { most: 100 });
    }

    #[test]
    fn a_large_one_that_must_go_anyway_lets_the_small_ones_stay() {
        let mut residents = Residents::new(ResidentLimits { count: 9, bytes: 100 }, BTreeMap::new());
        residents.insert("small".to_owned(), cost(5, 1), secs(10), ());
        residents.insert("large".to_owned(), cost(90, 100), secs(10), ());
        assert_eq!(room(&mut residents, 50), ["large"]);
        assert_eq!(residents.list(), [("small", cost(5, 1), &())]);
    }

    #[test]
    fn room_for_later_comes_from_what_may_go_and_from_memory_that_is_free() {
        let limits = ResidentLimits { count: 4, bytes: 100 };
        let mut residents = Residents::new(limits, BTreeMap::from([("pinned".to_owned(), Keep::Pinned)]));
        for name in ["a", "b", "pinned"] {
            residents.insert(name.to_owned(), cost(30, 1), secs(1), ());
        }
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut room = |bytes, may_go: &[&str], free| {
            let gone = residents.make_room_among(need(bytes), &names(may_go), free, |()| false);
            gone.map(|gone| gone.into_iter().map(|(name, ())| name).collect::<Vec<_>>())
        };
        assert_eq!(room(11, &[], 1_000), Err(NoRoom::Now), "nothing may go, though much is worth little");
        assert_eq!(room(10, &[], 9), Err(NoRoom::Now), "others use the device");
        assert_eq!(room(11, &["pinned"], 1_000), Err(NoRoom::Now));
        assert_eq!(room(10, &["b"], 10), Ok(Vec::new()));
        assert_eq!(room(11, &["b", "a"], 0), Ok(names(&["b"])));
        assert_eq!(room(100, &["b", "a"], 1_000), Err(NoRoom::Now), "nothing goes for nothing");
        assert_eq!(room(70, &["a"], 40), Ok(names(&["a"])));
    }

    #[test]
    fn warm_ones_go_last_and_pinned_ones_never() {
        let keep = [("warm".to_owned(), Keep::Warm), ("pinned".to_owned(), Keep::Pinned)];
        let mut residents = Residents::new(ResidentLimits { count: 3, bytes: 0 }, keep.into());
        assert_eq!(residents.missing(), ["pinned", "warm"]);
        residents.insert("dear".to_owned(), cost(1, 1_000_000), secs(100), ());
        residents.insert("warm".to_owned(), cost(1_000, 1), secs(1), ());
        residents.insert("pinned".to_owned(), cost(1_000, 1), secs(0), ());
        assert_eq!(residents.missing(), Vec::<String>::new());
        assert_eq!(room(&mut residents, 1), ["dear"]);
        residents.insert("new".to_owned(), cost(1, 1), secs(100), ());
        let in_use = residents.make_room(need(1), secs(100), |()| true).unwrap_err();
        assert_eq!(in_use, NoRoom::Now);
        let idle = residents.put_out_idle(secs(10), secs(100), |()| false);
        assert_eq!(idle.iter().map(|(name, ())| name.as_str()).collect::<Vec<_>>(), ["warm"]);
        assert_eq!(residents.list(), [("new", cost(1, 1), &()), ("pinned", cost(1_000, 1), &())]);
    }

    #[test]
    fn what_is_used_beside_a_model_takes_bytes_and_no_place() {
        let mut residents = Residents::new(ResidentLimits { count: 1, bytes: 100 }, BTreeMap::new());
        residents.insert("model".to_owned(), cost(50, 1_000), secs(99), ());
        let beside = |bytes| Need { bytes, heads: 0 };
        for (name, at) in [("lora", 10), ("other", 20)] {
            assert!(residents.make_room(beside(25), secs(at), |()| false).unwrap().is_empty());
            residents.insert(name.to_owned(), Cost { need: beside(25), load: secs(1) }, secs(at), ());
        }
        // A model's place is a model's to give, whatever is worth less.
        assert_eq!(room(&mut residents, 10), ["model"]);
        let gone = residents.make_room(beside(60), secs(100), |()| false).unwrap();
        assert_eq!(gone.iter().map(|(name, ())| name.as_str()).collect::<Vec<_>>(), ["lora"]);
    }

    #[test]
    fn there_is_room_for_one_even_under_a_limit_of_none() {
        let mut residents = Residents::new(ResidentLimits { count: 0, bytes: 0 }, BTreeMap::new());
        residents.insert("a".to_owned(), cost(10, 1), secs(0), ());
        assert_eq!(room(&mut residents, 1), ["a"]);
        assert_eq!(room(&mut residents, 1), Vec::<String>::new());
    }

    fn room(residents: &mut Residents<()>, bytes: u64) -> Vec<String> {
        let gone = residents.make_room(need(bytes), secs(100), |()| false).unwrap();
        gone.into_iter().map(|(name, ())| name).collect()
    }

    fn cost(bytes: u64, load_ms: u64) -> Cost {
        Cost { need: need(bytes), load: Duration::from_millis(load_ms) }
    }

    fn need(bytes: u64) -> Need {
        Need { bytes, heads: 1 }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_what_is_pinned_or_in_use_stays(
            (count, budget) in (1_usize..5, 1_u64..200),
            moves in proptest::collection::vec((0..NAMES.len(), 0_u64..80, 0_u64..5_000, any::<bool>()), 1..60),
            heads in 0_usize..2,
        ) {
            let keep = [("warm".to_owned(), Keep::Warm), ("pinned".to_owned(), Keep::Pinned)];
            let mut residents = Residents::new(ResidentLimits { count, bytes: budget }, keep.into());
            for (step, (name, bytes, load_ms, busy)) in moves.into_iter().enumerate() {
                let (name, now) = (NAMES[name], secs(step as u64));
                let before = residents.list().iter().map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>();
                if residents.touch(name, now).is_none() {
                    let need = Need { bytes, heads: if name == "a" { heads } else { 1 } };
                    if let Ok(gone) = residents.make_room(need, now, |busy| *busy) {
                        prop_assert!(gone.iter().all(|(name, busy)| name != "pinned" && !busy));
                        residents.insert(name.to_owned(), Cost { need, ..cost(bytes, load_ms) }, now, busy);
                    } else {
                        prop_assert_eq!(before.len(), residents.list().len(), "nothing goes for nothing");
                    }
                }
                let list = residents.list();
                prop_assert!(list.iter().map(|(_, cost, _)| cost.need.heads).sum::<usize>() <= count);
                prop_assert!(list.iter().map(|(_, cost, _)| cost.need.bytes).sum::<u64>() <= budget);
                prop_assert!(!before.contains(&"pinned".to_owned()) || list.iter().any(|(name, ..)| *name == "pinned"));
                let idle = residents.put_out_idle(secs(20), now, |busy| *busy);
                prop_assert!(idle.iter().all(|(name, busy)| name != "pinned" && !busy));
            }
        }
    }
}
