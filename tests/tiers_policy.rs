//! The policy of tiers against the least recently used and the optimum, on a scan, a mix, and the key-value blocks of a trace.
//! `--nocapture` shows the figures of docs/tiers.md.

#[allow(dead_code)]
#[path = "common/random.rs"]
mod random;

use gpubuf::tiers::policy::Policy;
use random::Random;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What happens to a block.
#[derive(Clone, Copy)]
enum Event {
    Use(u32),
    End(u32),
}
use Event::{End, Use};

/// Hits of a cache of so many blocks that evicts, by their last use, first what the policy does not want; with no policy, what was
/// used longest ago.
fn hits(events: &[Event], capacity: usize, mut policy: Option<Policy>) -> u64 {
    let (mut inside, mut order) = (HashMap::<u32, u64>::new(), BTreeMap::<u64, u32>::new());
    let mut hits = 0;
    for (now, event) in events.iter().enumerate() {
        match *event {
            Use(id) => {
                if let Some(policy) = &mut policy {
                    policy.access(id, 1);
                }
                if let Some(last) = inside.insert(id, now as u64) {
                    hits += 1;
                    order.remove(&last);
                } else if inside.len() > capacity {
                    let unwanted = policy.as_ref().and_then(|policy| order.values().find(|id| !policy.wants(**id)));
                    let victim = *unwanted.or(order.values().next()).expect("a victim");
                    order.remove(&inside.remove(&victim).expect("it is inside"));
                }
                order.insert(now as u64, id);
            }
            End(id) => {
                if let Some(policy) = &mut policy {
                    policy.forget(id);
                }
                if let Some(last) = inside.remove(&id) {
                    order.remove(&last);
                }
            }
        }
    }
    hits
}

/// Hits of the offline optimum: what is used again last makes room.
fn optimum(events: &[Event], capacity: usize) -> u64 {
    let mut next = vec![u64::MAX; events.len()];
    let mut seen = HashMap::new();
    for (at, event) in events.iter().enumerate().rev() {
        match *event {
            Use(id) => next[at] = seen.insert(id, at as u64).unwrap_or(u64::MAX),
            End(id) => drop(seen.remove(&id)),
        }
    }
    let (mut inside, mut order) = (HashMap::<u32, u64>::new(), BTreeSet::<(u64, u32)>::new());
    let mut hits = 0;
    for (at, event) in events.iter().enumerate() {
        match *event {
            Use(id) => {
                match inside.insert(id, next[at]) {
                    Some(was) => {
                        hits += 1;
                        order.remove(&(was, id));
                    }
                    None if inside.len() > capacity => {
                        let (was, victim) = order.pop_last().expect("a victim");
                        // What is used again after all others is not worth its place.
                        if was <= next[at] {
                            order.insert((was, victim));
                            inside.remove(&id);
                            continue;
                        }
                        inside.remove(&victim);
                    }
                    None => {}
                }
                order.insert((next[at], id));
            }
            End(id) => {
                if let Some(was) = inside.remove(&id) {
                    order.remove(&(was, id));
                }
            }
        }
    }
    hits
}

struct Figures {
    policy: f64,
    lru: f64,
}

fn figures(what: &str, events: &[Event], blocks: u32, capacity: usize) -> Figures {
    let mut policy = Policy::new(capacity as u64);
    assert!(policy.grow(blocks as usize));
    let uses = events.iter().filter(|event| matches!(event, Use(_))).count() as f64;
    let share = |hits: u64| 100.0 * hits as f64 / uses;
    let (policy, lru) = (share(hits(events, capacity, Some(policy))), share(hits(events, capacity, None)));
    let best = share(optimum(events, capacity));
    println!("| {what} | {capacity} | {lru:.1} | {policy:.1} | {best:.1} |");
    assert!(policy <= best + 1e-9, "{what}: {policy} % of hits, and the optimum has {best} %");
    assert!(policy >= lru - 2.0, "{what}: {policy} % of hits, and the least recently used has {lru} %");
    Figures { policy, lru }
}

#[test]
fn a_cyclic_scan_keeps_a_part_in_memory() {
    for capacity in [100, 400, 700, 900, 990] {
        let events: Vec<Event> = (0..100_000).map(|step| Use(step % 1000)).collect();
        let found = figures("cyclic scan of 1000", &events, 1000, capacity);
        assert_eq!(found.lru, 0.0);
        assert!(found.policy > 0.9 * capacity as f64 / 10.0, "a part in memory is hit once a cycle");
    }
}

/// Numbers below 4096, by Zipf's law with exponent 1.
fn zipf(random: &mut Random) -> u32 {
    let unit = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    ((4097f64.ln() * unit).exp() as u32 - 1).min(4095)
}

#[test]
fn a_mix_by_zipfs_law_costs_nothing() {
    for capacity in [64, 256, 1024, 2048] {
        let mut random = Random::new(7);
        let still: Vec<Event> = (0..200_000).map(|_| Use(zipf(&mut random))).collect();
        figures("zipf", &still, 4096, capacity);
        // The favourites change ten times.
        let drift: Vec<Event> =
            (0..200_000).map(|step| Use((zipf(&mut random) + step / 20_000 * 397) % 4096)).collect();
        figures("zipf, drifting", &drift, 4096, capacity);
        // A scan of what nobody wants again, now and then.
        let mixed: Vec<Event> = (0..200_000u32)
            .map(|step| Use(if step % 5_000 < 4_000 { zipf(&mut random) } else { 4096 + step % 30_000 }))
            .collect();
        figures("zipf and scans", &mixed, 40_000, capacity);
    }
}

#[test]
fn phases_are_followed() {
    for capacity in [300, 600] {
        // A stack that grows and shrinks, which is best for the least recently used, and a cycle, in turns.
        let events: Vec<Event> = (0..200_000u32)
            .map(|step| match (step / 20_000) % 2 {
                0 => Use(step % 800),
                _ => Use(1000 + (step % 600).abs_diff(300) + step / 4_000 * 200),
            })
            .collect();
        figures("cycles and stacks in turns", &events, 16_000, capacity);
    }
}

/// The key-value blocks, of so many tokens, that a batch reads in each step: each request has its own, to its end.
fn key_values(trace: &str, tokens: u32, batch: usize, most_uses: usize) -> (Vec<Event>, u32, usize) {
    struct Request {
        context: u32,
        left: u32,
        blocks: Vec<u32>,
    }
    let mut waiting = trace.lines().skip(1).filter_map(|line| {
        let mut fields = line.trim().split(',').skip(1);
        Some((fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?))
    });
    let (mut running, mut events, mut next, mut most): (Vec<Request>, _, _, _) = (Vec::new(), Vec::new(), 0, 0);
    let mut free = Vec::new();
    while events.len() < most_uses {
        while running.len() < batch
            && let Some((context, left)) = waiting.next()
        {
            running.push(Request { context, left, blocks: Vec::new() });
        }
        if running.is_empty() {
            break;
        }
        for request in &mut running {
            while (request.blocks.len() as u32) < request.context.div_ceil(tokens).max(1) {
                request.blocks.push(free.pop().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                }));
            }
            events.extend(request.blocks.iter().map(|id| Use(*id)));
        }
        most = most.max(running.iter().map(|request| request.blocks.len()).sum());
        running.retain_mut(|request| {
            request.context += 1;
            request.left = request.left.saturating_sub(1);
            if request.left == 0 {
                events.extend(request.blocks.iter().map(|id| End(*id)));
                free.append(&mut request.blocks);
            }
            request.left > 0
        });
    }
    (events, next, most)
}

#[test]
fn the_blocks_of_a_trace_are_kept_as_well_as_can_be() {
    let shared = ["../shared/traces", "shared/traces"];
    let trace =
        shared.iter().find_map(|folder| std::fs::read_to_string(format!("{folder}/azure_llm_2023_code.csv")).ok());
    let Some(trace) = trace else {
        println!("skipped: there is no trace");
        return;
    };
    let (events, blocks, most) = key_values(&trace, 256, 32, 1_000_000);
    for percent in [25, 50, 75, 90, 100] {
        figures(&format!("trace, {percent} % of the most"), &events, blocks, most * percent / 100);
    }
}
