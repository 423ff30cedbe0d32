//! Prompts' vectors made lately, by the hash of what they were made of, within so many bytes. The prompts themselves are not
//! kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::text::Conditioning;

/// The hash of a model, two prompts and what else their vectors depend on.
pub(crate) type Key = [u8; 32];

/// Vectors of all models.
#[derive(Debug)]
pub(crate) struct Prompts {
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one used last at the end.
    entries: VecDeque<(Key, Conditioning)>,
    bytes: u64,
}

impl Prompts {
    /// None yet.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Vectors made before.
    pub(crate) fn find(&self, key: &Key) -> Option<Conditioning> {
        let mut kept = self.lock();
        let at = kept.entries.iter().position(|(known, _)| known == key)?;
        let entry = kept.entries.remove(at)?;
        let found = entry.1.clone();
        kept.entries.push_back(entry);
        Some(found)
    }

    /// Keeps vectors, and lets go of those used longest ago until there is room. What is larger than all the room is not
    /// kept.
    pub(crate) fn keep(&self, key: Key, made: &Conditioning) {
        let bytes = made.bytes();
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        while kept.bytes.saturating_add(bytes) > self.bytes_max {
            let Some((_, old)) = kept.entries.pop_front() else { break };
            kept.bytes = kept.bytes.saturating_sub(old.bytes());
        }
        kept.bytes += bytes;
        kept.entries.push_back((key, made.clone()));
    }

    /// What they take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic between two lines leaves a sum too large at worst: fewer are kept.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn those_used_last_stay_within_their_bytes() {
        let prompts = Prompts::new(1_000);
        // 400 bytes each: two fit.
        for key in [1, 2] {
            prompts.keep([key; 32], &vectors(100));
        }
        assert!(prompts.find(&[1; 32]).is_some());
        prompts.keep([3; 32], &vectors(100));
        let there: Vec<u8> = (1..=4).filter(|key| prompts.find(&[*key; 32]).is_some()).collect();
        assert_eq!((there, prompts.bytes()), (vec![1, 3], 800));
        prompts.keep([4; 32], &vectors(251));
        assert_eq!((prompts.find(&[4; 32]).is_some(), prompts.bytes()), (false, 800), "larger than all the room");
        prompts.keep([4; 32], &vectors(250));
        assert_eq!((prompts.find(&[4; 32]).is_some(), prompts.bytes()), (true, 1_000));
    }

    fn vectors(numbers: usize) -> Conditioning {
        Conditioning { context: Tensor::zeros((1, 1, numbers), DType::F32, &Device::Cpu).unwrap(), pooled: None }
    }
}
