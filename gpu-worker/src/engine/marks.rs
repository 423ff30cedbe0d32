//! What the engine's thread did for a traced job, and when: noted there, told as spans by the attempt once it is over. Their
//! number is bounded however many steps a job has: beyond the bound, one mark stands for several steps.

use std::time::{Duration, SystemTime};

use tintype_types::worker::ResidentModel;

/// Marks of steps. A power of two, as neighbours are put together.
const STEPS_MAX: usize = 128;
/// Other marks: a load, an encoding, and a picture each.
const OTHERS_MAX: usize = 64;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The model was brought into memory.
    Load,
    /// Prompts and pictures were encoded.
    Encode,
    /// The denoiser was called.
    Step {
        /// Steps done after it, over all pictures.
        done: u32,
        /// How often.
        calls: u32,
    },
    /// A picture was decoded.
    Decode {
        /// Which.
        picture: u32,
    },
}

/// Something done, from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) doing: Doing,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
}

/// All of a job's.
#[derive(Debug)]
pub(crate) struct Marks {
    steps: Vec<Mark>,
    /// Calls that one mark stands for.
    calls_each: u32,
    others: Vec<Mark>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { steps: Vec::new(), calls_each: 1, others: Vec::new() }
    }
}

impl Marks {
    pub(crate) fn add(&mut self, mark: Mark) {
        match mark.doing {
            Doing::Step { .. } => self.add_step(mark),
            Doing::Load | Doing::Encode | Doing::Decode { .. } if self.others.len() < OTHERS_MAX => {
                self.others.push(mark);
            }
            Doing::Load | Doing::Encode | Doing::Decode { .. } => {}
        }
    }

    fn add_step(&mut self, mark: Mark) {
        if let Some(last) = self.steps.last_mut().filter(|last| calls(last) < self.calls_each) {
            *last = joined(last, &mark);
            return;
        }
        if self.steps.len() == STEPS_MAX {
            self.calls_each *= 2;
            self.steps = self.steps.chunks(2).filter_map(|pair| Some(joined(pair.first()?, pair.last()?))).collect();
        }
        self.steps.push(mark);
    }

    /// In the order of their beginnings.
    pub(crate) fn take(&mut self) -> Vec<Mark> {
        let Self { mut steps, calls_each: _, mut others } = std::mem::take(self);
        steps.append(&mut others);
        steps.sort_by_key(|mark| mark.from);
        steps
    }
}

/// What bringing models in took, between two looks at who is there.
pub(super) fn loaded_in(before: &[ResidentModel], after: &[ResidentModel]) -> Duration {
    after.iter().filter(|model| !before.contains(model)).map(|model| Duration::from_millis(model.load_ms)).sum()
}

fn calls(mark: &Mark) -> u32 {
    if let Doing::Step { calls, .. } = mark.doing { calls } else { 0 }
}

/// One mark for two that follow each other.
fn joined(one: &Mark, next: &Mark) -> Mark {
    let doing = match next.doing {
        Doing::Step { done, calls: more } => Doing::Step { done, calls: calls(one) + more },
        other @ (Doing::Load | Doing::Encode | Doing::Decode { .. }) => other,
    };
    Mark { doing, from: one.from, to: next.to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn step(number: u32) -> Mark {
        let from = at(u64::from(number));
        Mark { doing: Doing::Step { done: number, calls: 1 }, from, to: from + Duration::from_millis(900) }
    }

    #[test]
    fn few_steps_have_a_mark_each_and_all_come_in_order() {
        let mut marks = Marks::default();
        (1..=3).for_each(|number| marks.add(step(number)));
        marks.add(Mark { doing: Doing::Decode { picture: 0 }, from: at(9), to: at(10) });
        marks.add(Mark { doing: Doing::Encode, from: at(0), to: at(1) });
        let all = marks.take();
        let kinds: Vec<Doing> = all.iter().map(|mark| mark.doing).collect();
        let one = |done| Doing::Step { done, calls: 1 };
        assert_eq!(kinds, [Doing::Encode, one(1), one(2), one(3), Doing::Decode { picture: 0 }]);
        assert!(marks.take().is_empty());
    }

    #[test]
    fn many_steps_share_marks_and_none_is_left_out() {
        for steps in [128, 129, 130, 255, 1_000, 5_001] {
            let mut marks = Marks::default();
            (1..=steps).for_each(|number| marks.add(step(number)));
            let all = marks.take();
            assert!(all.len() <= STEPS_MAX && all.len() >= STEPS_MAX / 2, "{steps}: {}", all.len());
            assert_eq!(all.iter().map(calls).sum::<u32>(), steps);
            assert_eq!((all[0].from, all.last().map(|mark| mark.to)), (step(1).from, Some(step(steps).to)));
            let mut done = 0;
            for mark in &all {
                done += calls(mark);
                assert_eq!(mark.doing, Doing::Step { done, calls: calls(mark) }, "{steps}");
            }
        }
    }
}
