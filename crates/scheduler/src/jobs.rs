//! All jobs, each in a slot with a number that stands in for its id. A waiting job takes some 400 bytes with everything
//! in the indexes; a request is never held, it is fetched when the job is given out.

use std::collections::BTreeSet;

use tintype_types::JobId;

use crate::job::Job;
use crate::names::{Tag, rank};

/// Room for more jobs is made for this part of those there are at a time: doubling would leave half of it unused.
const GROWTH_PART: usize = 16;

/// A job's id. One that is a UUID, as all but tests' are, takes no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Uuid([u8; 16]),
    Text(Box<str>),
}

/// All jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    slots: Vec<Option<Job>>,
    free: Vec<u32>,
    by_rank: BTreeSet<Tag>,
}

impl Id {
    /// The id as it is kept.
    pub(crate) fn of(id: &JobId) -> Self {
        let text = id.as_str();
        match parse(text) {
            Some(bytes) if print(&bytes) == text => Self::Uuid(bytes),
            Some(_) | None => Self::Text(text.into()),
        }
    }

    /// The id as all others know it.
    pub(crate) fn job_id(&self) -> JobId {
        match self {
            Self::Uuid(bytes) => JobId(print(bytes)),
            Self::Text(text) => JobId((**text).to_owned()),
        }
    }

    /// Its place among others; of a UUID the half that is chance.
    fn rank(&self) -> u64 {
        match self {
            Self::Uuid(bytes) => bytes[8..].iter().fold(0, |rank, byte| rank << 8 | u64::from(*byte)),
            Self::Text(text) => rank(text),
        }
    }
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut digits = bytes.iter().filter(|byte| **byte != b'-').map(|byte| (*byte as char).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(uuid)
}

fn print(uuid: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

impl Jobs {
    /// The job with this id.
    pub(crate) fn find(&self, id: &JobId) -> Option<Tag> {
        let id = Id::of(id);
        let rank = id.rank();
        let mut alike = self.by_rank.range(Tag { rank, ..Tag::FIRST }..=Tag { rank, ..Tag::LAST });
        alike.find(|tag| self.get(**tag).is_some_and(|job| job.id == id)).copied()
    }

    /// A job.
    pub(crate) fn get(&self, tag: Tag) -> Option<&Job> {
        self.slots.get(tag.no as usize)?.as_ref()
    }

    /// A job.
    pub(crate) fn get_mut(&mut self, tag: Tag) -> Option<&mut Job> {
        self.slots.get_mut(tag.no as usize)?.as_mut()
    }

    /// Adds a job whose id no other has.
    pub(crate) fn insert(&mut self, job: Job) -> Tag {
        let rank = job.id.rank();
        let no = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(self.slots.len() / GROWTH_PART + 64);
            }
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let tag = Tag { rank, no };
        self.slots[no as usize] = Some(job);
        self.by_rank.insert(tag);
        tag
    }

    /// Takes a job out.
    pub(crate) fn remove(&mut self, tag: Tag) {
        if self.by_rank.remove(&tag) {
            self.slots[tag.no as usize] = None;
            self.free.push(tag.no);
        }
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_rank.len()
    }

    /// All of them, in no order that may be seen: as they lie, which a million are walked through much sooner.
    pub(crate) fn each(&self) -> impl Iterator<Item = &Job> {
        self.slots.iter().flatten()
    }

    /// All of them, by rank.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, &Job)> {
        self.by_rank.iter().filter_map(|tag| Some((*tag, self.get(*tag)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were() {
        let uuid = "0197a3b4-1c2d-7e3f-8a4b-5c6d7e8f9a0b";
        for text in
            [uuid, "0197A3B4-1c2d-7e3f-8a4b-5c6d7e8f9a0b", "0197a3b4", "", "j1", "-197a3b4-1c2d-7e3f-8a4b-5c6d7e8f9a0b"]
        {
            assert_eq!(Id::of(&text.into()).job_id().as_str(), text);
        }
        assert!(matches!(Id::of(&uuid.into()), Id::Uuid(_)));
    }
}
