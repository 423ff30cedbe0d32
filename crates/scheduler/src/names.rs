//! Names are kept once and stand in for their text as small numbers, so that a million jobs do not hold a million copies
//! of the name of a queue. What a number is depends on what was seen before, so nothing is ever decided by it: orders
//! that can be seen go by [`rank`] or by the text.

use std::num::NonZeroU32;

/// Names kept beyond those in use before the unused ones are dropped.
const SPARE_MAX: usize = 4_096;

/// Least room in the table of texts, and how many places there are for one text. It is found by probing, so it stays half empty.
const PLACES_MIN: usize = 64;
const PLACES_A_TEXT: usize = 2;

/// A name of a queue, model, pool, worker or kind of GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(NonZeroU32);

/// Something with an order that does not depend on what was seen before it: by [`rank`], and for the astronomically
/// rare two of one rank by when they were met. Packed, as there are millions of them in the indexes and what those cost is
/// memory that is far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub(crate) struct Tag {
    pub(crate) rank: u64,
    pub(crate) no: u32,
}

/// All names in use, and some that are not any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Where each text's name is: its digest says where to begin to look, a number of 0 where to stop. As many as a power of
    /// two. Asked for one text at a time, so what order they are in cannot be seen.
    places: Vec<Place>,
    len: usize,
    texts: Vec<Option<Box<str>>>,
    free: Vec<u32>,
    used_last: usize,
}

/// A place in the table of texts: a name's number, and of its text's digest enough to tell it from nearly all others.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    digest: u32,
    no: u32,
}

impl Names {
    /// The name with this text.
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.find(text) {
            return name;
        }
        let no = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            self.texts.len() as u32
        });
        let name = Name(NonZeroU32::new(no).unwrap_or(NonZeroU32::MAX));
        self.texts[no as usize - 1] = Some(text.into());
        self.len += 1;
        if self.len * PLACES_A_TEXT > self.places.len() {
            self.build();
        } else {
            self.put(text_digest(text), no);
        }
        name
    }

    /// The name with this text, if there is one.
    pub(crate) fn find(&self, text: &str) -> Option<Name> {
        let digest = text_digest(text);
        let mut place = self.first_place(digest)?;
        loop {
            let Place { digest: other, no } = self.places[place];
            let number = NonZeroU32::new(no)?;
            if other == digest as u32 && self.text(Name(number)) == text {
                return Some(Name(number));
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    /// Where to begin to look; nothing while there is no table. The digest's upper half, as places hold the lower one.
    fn first_place(&self, digest: u64) -> Option<usize> {
        (!self.places.is_empty()).then(|| (digest >> 32) as usize & (self.places.len() - 1))
    }

    /// Fills the first place that is free. There is one: no more than half of them are taken.
    fn put(&mut self, digest: u64, no: u32) {
        let Some(mut place) = self.first_place(digest) else { return };
        while self.places[place].no != 0 {
            place = (place + 1) & (self.places.len() - 1);
        }
        self.places[place] = Place { digest: digest as u32, no };
    }

    /// Builds the table anew, with room for as many names again.
    fn build(&mut self) {
        let room = (self.len * PLACES_A_TEXT * 2).next_power_of_two().max(PLACES_MIN);
        self.places = vec![Place::default(); room];
        for place in 0..self.texts.len() {
            if let Some(digest) = self.texts[place].as_deref().map(text_digest) {
                self.put(digest, place as u32 + 1);
            }
        }
    }

    /// The text of a name.
    pub(crate) fn text(&self, name: Name) -> &str {
        self.texts.get(name.0.get() as usize - 1).and_then(Option::as_deref).unwrap_or_default()
    }

    /// The name with its place among others.
    pub(crate) fn tag(&self, name: Name) -> Tag {
        Tag { rank: rank(self.text(name)), no: name.0.get() }
    }

    /// Whether it is time to drop unused ones.
    pub(crate) fn crowded(&self) -> bool {
        self.len > 2 * self.used_last + SPARE_MAX
    }

    /// Drops all but these.
    pub(crate) fn keep(&mut self, used: &Used) {
        for (place, text) in self.texts.iter_mut().enumerate() {
            if text.is_some() && !used.0.get(place).is_some_and(|used| *used) {
                *text = None;
                self.free.push(place as u32 + 1);
                self.len -= 1;
            }
        }
        self.build();
        self.used_last = self.len;
    }
}

/// Names in use: told in any order and more than once, as a million jobs name few.
#[derive(Debug, Default)]
pub(crate) struct Used(Vec<bool>);

impl Extend<Name> for Used {
    fn extend<I: IntoIterator<Item = Name>>(&mut self, names: I) {
        for Name(no) in names {
            let place = no.get() as usize - 1;
            if place >= self.0.len() {
                self.0.resize(place + 1, false);
            }
            self.0[place] = true;
        }
    }
}

impl Name {
    /// Before and after any other, for ranges.
    pub(crate) const FIRST: Self = Self(NonZeroU32::MIN);
    pub(crate) const LAST: Self = Self(NonZeroU32::MAX);
}

impl Tag {
    /// Before and after any other, for ranges.
    pub(crate) const FIRST: Self = Self { rank: 0, no: 0 };
    pub(crate) const LAST: Self = Self { rank: u64::MAX, no: u32::MAX };

    /// The name a tag of [`Names::tag`] is of.
    pub(crate) fn name(self) -> Name {
        Name(NonZeroU32::new(self.no).unwrap_or(NonZeroU32::MIN))
    }
}

/// Where a text is among others, whatever was seen before: short ones in alphabetical order, others by their digest
/// (FNV-1a), which differs for texts that differ but for one pair in some 10^19.
pub(crate) fn rank(text: &str) -> u64 {
    let bytes = text.as_bytes();
    if bytes.len() <= 8 {
        return bytes.iter().fold(0, |rank, byte| rank << 8 | u64::from(*byte)) << (8 * (8 - bytes.len()) % 64);
    }
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A rank spread out over all 64 bits (the end of MurmurHash3): a short text's own is in the upper ones alone.
fn text_digest(text: &str) -> u64 {
    let mut digest = rank(text);
    digest = (digest ^ (digest >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    digest = (digest ^ (digest >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    digest ^ (digest >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(names: impl IntoIterator<Item = Name>) -> Used {
        let mut used = Used::default();
        used.extend(names);
        used
    }

    #[test]
    fn a_name_is_kept_while_it_is_used_and_its_number_used_again() {
        let mut names = Names::default();
        let (a, b) = (names.name("a"), names.name("b"));
        assert_eq!((names.name("a"), names.find("b"), names.find("c")), (a, Some(b), None));
        names.keep(&used([b, b]));
        assert_eq!((names.find("a"), names.text(b)), (None, "b"));
        assert_eq!(names.name("c"), a, "the free number");
        assert_eq!((names.text(a), names.tag(a).name()), ("c", a));
    }

    #[test]
    fn many_names_are_found_by_their_texts_before_and_after_others_went() {
        let mut names = Names::default();
        let text = |number: usize| format!("team-{number}/queue");
        let all: Vec<Name> = (0..10_000).map(|number| names.name(&text(number))).collect();
        assert!(all.iter().enumerate().all(|(number, name)| names.find(&text(number)) == Some(*name)));
        assert!(names.crowded());
        names.keep(&used(all.iter().copied().step_by(3)));
        for (number, name) in all.iter().enumerate() {
            let kept = (number % 3 == 0).then_some(*name);
            assert_eq!(names.find(&text(number)), kept, "{number}");
        }
        assert!(!names.crowded() && names.find("team-1").is_none());
    }

    #[test]
    fn short_texts_rank_in_their_order() {
        let texts = ["", "a", "ab", "b", "w1", "w10", "w2", "zzzzzzzz"];
        assert!(texts.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_ne!(rank("gpu-worker-7f9c-1"), rank("gpu-worker-7f9c-2"));
    }
}
