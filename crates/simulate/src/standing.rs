//! What a placement of models that stands still brings, chosen with more knowledge than any scheduler has: a yardstick for
//! how much of what is late is lost to not knowing what will be asked for, and how much to all else.
//!
//! It is a search (simulated annealing with a fixed seed), so what it finds can be done and what it does not find proves
//! nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::{Fleet, RESIDENT_MODELS, Work};

/// How many jobs a change may lose at first and still be taken now and then, and at last.
const HEAT: (f64, f64) = (3.0, 0.03);
/// Flow time, in milliseconds, that counts as much as one request on time: it decides between placements that keep as many.
const FLOW_PER_REQUEST_MS: f64 = 1e7;
/// How many times its own length a request on time is put back for it, and a late one, as the scheduler does.
const LENGTH: (u64, u64) = (3, 20);

/// Which models each GPU holds.
type Placement = Vec<[usize; RESIDENT_MODELS]>;

/// A request in a line: its place there, and its number.
type Line = BinaryHeap<Reverse<(u64, usize)>>;

/// What a placement is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The very requests it then serves.
    Itself,
    /// Those of so many spans before.
    Before(usize),
    /// All of the trace.
    Everything,
}

/// Share of requests on time when, in each span of so many milliseconds, the models stay where a placement put them that was
/// chosen for what is known, in so many tries. Loads take no time and come between spans; a model that was given no place
/// is not run; each span begins with nothing waiting. Spans without anything known are left out.
pub fn on_time(work: &Work, fleet: Fleet, span_ms: u64, known: Known, tries: u32) -> f64 {
    let spans = spans(work, span_ms.max(1));
    let all = 0..work.requests.len();
    let mut search = Search { work, fleet, tries, chance: Chance(1) };
    let mut placement = match known {
        Known::Everything => search.choose(&all, None),
        Known::Itself | Known::Before(_) => None,
    };
    let (mut kept, mut asked) = (0, 0);
    for (number, span) in spans.iter().enumerate() {
        let seen = match known {
            Known::Itself => Some(span.clone()),
            Known::Before(count) => {
                let first = number.saturating_sub(count);
                (first < number).then(|| spans[first].start..spans[number - 1].end)
            }
            Known::Everything => None,
        };
        if let Some(seen) = seen {
            placement = search.choose(&seen, placement);
        }
        if let Some(placement) = &placement {
            kept += serve(work, span, placement).0;
            asked += span.len();
        }
    }
    f64::from(kept) / asked.max(1) as f64
}

fn spans(work: &Work, span_ms: u64) -> Vec<Range<usize>> {
    let span = |number: usize| work.requests[number].arrival_ms / span_ms;
    let starts: Vec<usize> =
        (0..work.requests.len()).filter(|number| *number == 0 || span(*number) != span(number - 1)).collect();
    let ends = starts.iter().skip(1).copied().chain([work.requests.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Looks for placements.
struct Search<'a> {
    work: &'a Work,
    fleet: Fleet,
    tries: u32,
    chance: Chance,
}

impl Search<'_> {
    /// The best placement found for some requests, beginning with one that stood before.
    fn choose(&mut self, seen: &Range<usize>, before: Option<Placement>) -> Option<Placement> {
        if seen.is_empty() {
            return before;
        }
        let mut placement = before.unwrap_or_else(|| {
            (0..self.fleet.gpus.max(1)).map(|_| std::array::from_fn(|_| self.wanted(seen))).collect()
        });
        let mut now = self.score(seen, &placement);
        let mut best = (now, placement.clone());
        for tried in 0..self.tries {
            let heat = HEAT.0 * (HEAT.1 / HEAT.0).powf(f64::from(tried) / f64::from(self.tries));
            let other = self.changed(seen, &placement);
            let then = self.score(seen, &other);
            if then >= now || ((then - now) / heat).exp() > self.chance.part() {
                (now, placement) = (then, other);
                if now > best.0 {
                    best = (now, placement.clone());
                }
            }
        }
        Some(best.1)
    }

    /// A placement with one model put in another's place, or two that change places.
    fn changed(&mut self, seen: &Range<usize>, placement: &Placement) -> Placement {
        let mut other = placement.clone();
        let (gpu, place) = (self.chance.below(other.len()), self.chance.below(RESIDENT_MODELS));
        if self.chance.below(4) == 0 {
            let (with, there) = (self.chance.below(other.len()), self.chance.below(RESIDENT_MODELS));
            let model = other[with][there];
            other[with][there] = std::mem::replace(&mut other[gpu][place], model);
        } else {
            other[gpu][place] = self.wanted(seen);
        }
        other
    }

    /// A model, the likelier the more it is asked for.
    fn wanted(&mut self, seen: &Range<usize>) -> usize {
        self.work.requests[seen.start + self.chance.below(seen.len())].model
    }

    fn score(&self, seen: &Range<usize>, placement: &Placement) -> f64 {
        let (kept, flow_ms) = serve(self.work, seen, placement);
        f64::from(kept) - flow_ms as f64 / FLOW_PER_REQUEST_MS
    }
}

/// How many of these requests a placement serves in time, and the flow time of all it serves: each GPU takes the most urgent
/// of its models' requests, late ones last.
fn serve(work: &Work, asked: &Range<usize>, placement: &Placement) -> (u32, u64) {
    let mut served = Served::new(work, placement);
    let mut next = asked.start;
    loop {
        let ends = served.ends.peek().map(|Reverse((end, _))| *end);
        let comes = (next < asked.end).then(|| work.requests[next].arrival_ms);
        match (ends, comes) {
            (Some(end), comes) if comes.is_none_or(|comes| end <= comes) => served.end(end),
            (_, Some(comes)) => {
                served.come(next, comes);
                next += 1;
            }
            (_, None) => return (served.kept, served.flow_ms),
        }
    }
}

struct Served<'a> {
    work: &'a Work,
    placement: &'a Placement,
    holders: Vec<Vec<usize>>,
    lines: Vec<(Line, Line)>,
    busy: Vec<bool>,
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    kept: u32,
    flow_ms: u64,
}

impl<'a> Served<'a> {
    fn new(work: &'a Work, placement: &'a Placement) -> Self {
        let mut holders = vec![Vec::new(); work.models.len()];
        for (gpu, models) in placement.iter().enumerate() {
            for model in models {
                holders[*model].push(gpu);
            }
        }
        let lines = vec![Default::default(); work.models.len()];
        let (busy, ends) = (vec![false; placement.len()], BinaryHeap::new());
        Self { work, placement, holders, lines, busy, ends, kept: 0, flow_ms: 0 }
    }

    fn come(&mut self, number: usize, now: u64) {
        let request = &self.work.requests[number];
        // The free GPU with fewest others beside it that could do with its other model.
        let others = |gpu: &usize| {
            self.placement[*gpu].iter().filter(|model| **model != request.model).map(|model| self.holders[*model].len())
        };
        let free = self.holders[request.model].iter().copied().filter(|gpu| !self.busy[*gpu]);
        if let Some(gpu) = free.max_by_key(|gpu| others(gpu).sum::<usize>()) {
            return self.start(gpu, number, now);
        }
        let start_by = request.deadline_ms.saturating_sub(request.service_ms());
        let place = start_by + LENGTH.0 * request.service_ms();
        self.lines[request.model].0.push(Reverse((place, number)));
    }

    fn end(&mut self, now: u64) {
        let Some(Reverse((_, gpu))) = self.ends.pop() else { return };
        self.busy[gpu] = false;
        let heads = self.placement[gpu].map(|model| self.head(model, now).map(|head| (head, model)));
        let Some(((late, (_, number)), model)) = heads.into_iter().flatten().min() else { return };
        let (urgent, others) = &mut self.lines[model];
        if late {
            others.pop()
        } else {
            urgent.pop()
        };
        self.start(gpu, number, now);
    }

    /// The first request of a model, and whether it is late.
    fn head(&mut self, model: usize, now: u64) -> Option<(bool, (u64, usize))> {
        let (urgent, late) = &mut self.lines[model];
        while let Some(Reverse((place, number))) = urgent.peek().copied() {
            let request = &self.work.requests[number];
            if now + request.service_ms() <= request.deadline_ms {
                return Some((false, (place, number)));
            }
            urgent.pop();
            late.push(Reverse((request.arrival_ms + LENGTH.1 * request.service_ms(), number)));
        }
        late.peek().map(|Reverse(place)| (true, *place))
    }

    fn start(&mut self, gpu: usize, number: usize, now: u64) {
        let request = &self.work.requests[number];
        let end = now + request.service_ms();
        self.busy[gpu] = true;
        self.kept += u32::from(end <= request.deadline_ms);
        self.flow_ms += end - request.arrival_ms;
        self.ends.push(Reverse((end, gpu)));
    }
}

/// Numbers that look like chance and are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, Request};

    /// One request of 10 s each second, of each model in turn; models change with each minute.
    fn work(models: usize, minutes: u64) -> Work {
        let request = |second: u64| Request {
            arrival_ms: second * 1_000,
            deadline_ms: second * 1_000 + 12_000,
            steps: 10,
            images: 1,
            loras: 0,
            fixed_ms: 0,
            step_ms: 1_000,
            model: (second as usize % models + second as usize / 60 * models) % (models * 2),
            queue: 0,
        };
        let model = |number: usize| Model { name: format!("m{number}"), load_ms: 1_000 };
        Work {
            requests: (0..minutes * 60).map(request).collect(),
            models: (0..models * 2).map(model).collect(),
            queues: vec!["q".to_owned()],
            skipped: 0,
        }
    }

    #[test]
    fn knowing_each_span_beats_knowing_the_one_before() {
        let (work, fleet) = (work(2, 2), Fleet { gpus: 12 });
        let [itself, before] = [Known::Itself, Known::Before(1)].map(|known| on_time(&work, fleet, 60_000, known, 500));
        assert!((itself - 1.0).abs() < 1e-9, "ten GPUs' worth on twelve: {itself}");
        assert!(before.abs() < 1e-9, "the models of the span before are others: {before}");
        let everything = on_time(&work, fleet, 60_000, Known::Everything, 500);
        assert!(everything > 0.9, "room for all four models: {everything}");
    }

    #[test]
    fn nothing_is_served_in_time_that_cannot_be() {
        let (work, fleet) = (work(1, 1), Fleet { gpus: 5 });
        let share = on_time(&work, fleet, 60_000, Known::Itself, 200);
        assert!((0.4..=0.6).contains(&share), "five GPUs do half of ten GPUs' worth: {share}");
    }
}
