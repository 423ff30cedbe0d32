//! What no policy can beat, or what a relaxed problem reaches: the anchors the figures are held against.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::{Fleet, RESIDENT_MODELS, Work};

/// Mean flow time in seconds of shortest-remaining-first on one machine as fast as the whole fleet, with loads free and
/// each request taking at least its own service time.
pub fn srpt_mean_flow_s(work: &Work, fleet: Fleet) -> f64 {
    let speed = fleet.gpus.max(1) as u64;
    // Work is counted in parts of a millisecond that a fleet of this speed does in whole milliseconds.
    let (mut waiting, mut now, mut next, mut total) = (BTreeSet::new(), 0_u64, 0, 0_u64);
    let requests = &work.requests;
    while next < requests.len() || !waiting.is_empty() {
        if waiting.is_empty() {
            now = now.max(requests[next].arrival_ms * speed);
        }
        while next < requests.len() && requests[next].arrival_ms * speed <= now {
            waiting.insert((requests[next].service_ms(), next));
            next += 1;
        }
        let Some((left, number)) = waiting.pop_first() else { continue };
        let until = requests.get(next).map_or(u64::MAX, |request| request.arrival_ms * speed);
        if now + left <= until {
            now += left;
            let own = requests[number].service_ms() * speed;
            total += own.max(now - requests[number].arrival_ms * speed);
        } else {
            waiting.insert((left - (until - now), number));
            now = until;
        }
    }
    total as f64 / speed as f64 / 1_000.0 / requests.len().max(1) as f64
}

/// Share on time if the fleet were one preemptive machine with loads free: earliest deadline first, and whenever that
/// cannot hold all, the largest request before the first miss is given up (Moore and Hodgson's rule, online). Close to
/// the optimum of that relaxation, not a proved bound.
pub fn relaxed_on_time(work: &Work, fleet: Fleet) -> f64 {
    let speed = fleet.gpus.max(1) as u64;
    let mut active: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    let (mut now, mut kept) = (0_u64, 0_usize);
    for (number, request) in work.requests.iter().enumerate() {
        kept += advance(&mut active, now, request.arrival_ms * speed);
        now = now.max(request.arrival_ms * speed);
        active.insert((request.deadline_ms * speed, number), request.service_ms());
        give_up(&mut active, now);
    }
    kept += advance(&mut active, now, u64::MAX);
    kept as f64 / work.requests.len().max(1) as f64
}

/// Works on the most urgent from `now` to `until`; answers how many were done in time.
fn advance(active: &mut BTreeMap<(u64, usize), u64>, mut now: u64, until: u64) -> usize {
    let mut done = 0;
    while now < until
        && let Some(mut entry) = active.first_entry()
    {
        let part = (*entry.get()).min(until - now);
        now += part;
        *entry.get_mut() -= part;
        if *entry.get() == 0 {
            done += usize::from(now <= entry.key().0);
            entry.remove();
        }
    }
    done
}

/// Drops the largest of those before the first that would be late, until none would.
fn give_up(active: &mut BTreeMap<(u64, usize), u64>, now: u64) {
    loop {
        let (mut at, mut largest) = (now, None);
        let late = active.iter().any(|(key, left)| {
            at += left;
            largest = largest.max(Some((*left, *key)));
            at > key.0
        });
        let (true, Some((_, key))) = (late, largest) else { return };
        active.remove(&key);
    }
}

/// Fewest loads if all memory of the fleet were one cache and the future were known (Belady's MIN).
pub fn belady_loads(work: &Work, fleet: Fleet) -> usize {
    let room = fleet.gpus * RESIDENT_MODELS;
    let mut uses: Vec<Vec<usize>> = vec![Vec::new(); work.models.len()];
    for (number, request) in work.requests.iter().enumerate().rev() {
        uses[request.model].push(number);
    }
    let (mut resident, mut loads) = (BTreeMap::new(), 0);
    let mut by_next_use = BinaryHeap::new();
    for request in &work.requests {
        let model = request.model;
        uses[model].pop();
        let next = uses[model].last().copied().unwrap_or(usize::MAX);
        if resident.insert(model, next).is_none() {
            loads += 1;
            while resident.len() > room
                && let Some((use_at, gone)) = by_next_use.pop()
            {
                if gone != model && resident.get(&gone) == Some(&use_at) {
                    resident.remove(&gone);
                }
            }
        }
        by_next_use.push((next, model));
    }
    loads
}

/// Mean flow time and share on time of a fleet that loads for free and runs each request to its end: most urgent start
/// first, short ones before long ones, those too late last. What is lost against it is lost to loads.
pub fn free_loading(work: &Work, fleet: Fleet) -> (f64, f64) {
    let requests = &work.requests;
    let mut free: BinaryHeap<Reverse<u64>> = (0..fleet.gpus.max(1)).map(|_| Reverse(0)).collect();
    let (mut urgent, mut late) = (BTreeSet::new(), BTreeSet::new());
    let (mut now, mut next, mut flow, mut on_time) = (0_u64, 0, 0_u64, 0_usize);
    while let Some(Reverse(at)) = free.pop() {
        now = now.max(at);
        if urgent.is_empty() && late.is_empty() {
            let Some(request) = requests.get(next) else { break };
            now = now.max(request.arrival_ms);
        }
        while let Some(request) = requests.get(next).filter(|request| request.arrival_ms <= now) {
            let start = request.deadline_ms.saturating_sub(request.service_ms());
            urgent.insert((start + 3 * request.service_ms(), start, next));
            next += 1;
        }
        let hopeless: Vec<_> = urgent.iter().filter(|(_, start, _)| *start < now).copied().collect();
        for entry in hopeless {
            urgent.remove(&entry);
            late.insert((requests[entry.2].service_ms(), entry.2));
        }
        let chosen =
            urgent.pop_first().map(|(_, _, number)| number).or_else(|| late.pop_first().map(|(_, number)| number));
        let Some(number) = chosen else { continue };
        let end = now + requests[number].service_ms();
        flow += end - requests[number].arrival_ms;
        on_time += usize::from(end <= requests[number].deadline_ms);
        free.push(Reverse(end));
    }
    let count = requests.len().max(1) as f64;
    (flow as f64 / 1_000.0 / count, on_time as f64 / count)
}
