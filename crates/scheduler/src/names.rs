//! Names are kept once and stand in for their text as small numbers, so that a million jobs do not hold a million copies
//! of the name of a queue. What a number is depends on what was seen before, so nothing is ever decided by it: orders
//! that can be seen go by [`rank`] or by the text.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Names kept beyond those in use before the unused ones are dropped.
const SPARE_MAX: usize = 4_096;

/// A name of a queue, model, pool, worker or kind of GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(NonZeroU32);

/// Something with an order that does not depend on what was seen before it: by [`rank`], and for the astronomically
/// rare two of one rank by when they were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) rank: u64,
    pub(crate) no: u32,
}

/// All names in use, and some that are not any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    numbers: BTreeMap<Arc<str>, Name>,
    texts: Vec<Option<Arc<str>>>,
    free: Vec<u32>,
    used_last: usize,
}

impl Names {
    /// The name with this text.
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.numbers.get(text) {
            return *name;
        }
        let text: Arc<str> = text.into();
        let no = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            self.texts.len() as u32
        });
        let name = Name(NonZeroU32::new(no).unwrap_or(NonZeroU32::MAX));
        self.texts[no as usize - 1] = Some(text.clone());
        self.numbers.insert(text, name);
        name
    }

    /// The name with this text, if there is one.
    pub(crate) fn find(&self, text: &str) -> Option<Name> {
        self.numbers.get(text).copied()
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
        self.numbers.len() > 2 * self.used_last + SPARE_MAX
    }

    /// Drops all but these.
    pub(crate) fn keep(&mut self, used: &BTreeSet<Name>) {
        self.numbers.retain(|_, name| used.contains(name));
        for (place, text) in self.texts.iter_mut().enumerate() {
            let no = place as u32 + 1;
            if text.is_some() && !NonZeroU32::new(no).is_some_and(|no| used.contains(&Name(no))) {
                *text = None;
                self.free.push(no);
            }
        }
        self.used_last = used.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_while_it_is_used_and_its_number_used_again() {
        let mut names = Names::default();
        let (a, b) = (names.name("a"), names.name("b"));
        assert_eq!((names.name("a"), names.find("b"), names.find("c")), (a, Some(b), None));
        names.keep(&BTreeSet::from([b]));
        assert_eq!((names.find("a"), names.text(b)), (None, "b"));
        assert_eq!(names.name("c"), a, "the free number");
        assert_eq!((names.text(a), names.tag(a).name()), ("c", a));
    }

    #[test]
    fn short_texts_rank_in_their_order() {
        let texts = ["", "a", "ab", "b", "w1", "w10", "w2", "zzzzzzzz"];
        assert!(texts.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_ne!(rank("gpu-worker-7f9c-1"), rank("gpu-worker-7f9c-2"));
    }
}
