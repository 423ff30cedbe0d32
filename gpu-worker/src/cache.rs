//! Which models stay in memory: the most recently used, within a count and a number of bytes. Pure: it holds whatever
//! it is given and reads no clock.

/// What residents may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidentLimits {
    /// Models at a time; at least one is always kept.
    pub count: usize,
    /// Bytes of all of them; 0 is no limit.
    pub bytes: u64,
}

/// Things in memory, most recently used first.
#[derive(Debug)]
pub struct Residents<T> {
    limits: ResidentLimits,
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    name: String,
    bytes: u64,
    value: T,
}

impl<T> Residents<T> {
    /// Nothing yet.
    pub fn new(limits: ResidentLimits) -> Self {
        Self { limits, entries: Vec::new() }
    }

    /// Takes one out to use, making it the most recent.
    pub fn touch(&mut self, name: &str) -> Option<&T> {
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        self.entries[..=at].rotate_right(1);
        self.entries.first().map(|entry| &entry.value)
    }

    /// Whether something of this size could be held with all others put out.
    pub fn could_hold(&self, bytes: u64) -> bool {
        self.limits.bytes == 0 || bytes <= self.limits.bytes
    }

    /// Puts out the least recently used until there is room for one more of this size; names what went.
    pub fn make_room(&mut self, bytes: u64) -> Vec<String> {
        let mut gone = Vec::new();
        while !self.entries.is_empty() && !self.fits(bytes) {
            gone.extend(self.entries.pop().map(|entry| entry.name));
        }
        gone
    }

    /// Adds one as the most recent. [`Self::make_room`] comes first.
    pub fn insert(&mut self, name: String, bytes: u64, value: T) {
        self.entries.retain(|entry| entry.name != name);
        self.entries.insert(0, Entry { name, bytes, value });
    }

    /// Forgets one.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|entry| entry.name != name);
    }

    /// Names, most recently used first.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    fn fits(&self, more: u64) -> bool {
        let used = self.entries.iter().fold(more, |sum, entry| sum.saturating_add(entry.bytes));
        self.entries.len() < self.limits.count.max(1) && (self.limits.bytes == 0 || used <= self.limits.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut residents = filled(ResidentLimits { count: 3, bytes: 0 }, &["a", "b", "c"]);
        assert_eq!(residents.names(), ["c", "b", "a"]);
        assert_eq!(residents.touch("a"), Some(&1));
        assert_eq!(residents.names(), ["a", "c", "b"]);
        assert_eq!(residents.make_room(1), ["b"]);
        assert_eq!(residents.touch("b"), None);
    }

    #[test]
    fn bytes_count_as_well_as_heads() {
        let mut residents = filled(ResidentLimits { count: 9, bytes: 30 }, &["a", "b", "c"]);
        assert!(residents.could_hold(30) && !residents.could_hold(31));
        assert_eq!(residents.make_room(15), ["a", "b"]);
        assert_eq!(residents.make_room(20), Vec::<String>::new());
    }

    #[test]
    fn there_is_room_for_one_even_under_a_limit_of_none() {
        let mut residents = filled(ResidentLimits { count: 0, bytes: 0 }, &["a"]);
        assert_eq!(residents.make_room(1), ["a"]);
        assert_eq!(residents.make_room(1), Vec::<String>::new());
    }

    fn filled(limits: ResidentLimits, names: &[&str]) -> Residents<u32> {
        let mut residents = Residents::new(limits);
        for name in names {
            residents.make_room(10);
            residents.insert((*name).to_owned(), 10, 1);
        }
        residents
    }
}
