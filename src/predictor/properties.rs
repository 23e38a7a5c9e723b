//! Random records against models that are too plain to be wrong, and runs of different character. The seeds are fixed: what
//! fails fails again.

use super::followers::Followers;
use super::suggest::best_pools;
use super::window::Window;
use super::*;
use crate::error::Status;
use std::collections::{BTreeMap, BTreeSet};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

const METHODS: [Method; 4] = [Method::MostCommon, Method::Markov, Method::Markov2, Method::Blend];

fn predictor(options: PredictorOptions) -> Arc<Predictor> {
    Predictor::create(None, options).expect("a predictor")
}

fn after(run: &[u64], options: PredictorOptions) -> Arc<Predictor> {
    let predictor = predictor(options);
    for size in run {
        predictor.record(*size).expect("a size");
    }
    predictor
}

fn refused(options: PredictorOptions) -> Option<(Status, String)> {
    Predictor::create(None, options).err().map(|error| (error.status(), error.message().to_owned()))
}

// ---- The parts -------------------------------------------------------------------------------------------------------

#[test]
fn a_window_counts_the_last_records_and_keeps_them_in_order() {
    let mut random = Random(1);
    for length in [1, 2, 5, 64] {
        let places = 12;
        let mut window = Window::new(length, places).expect("memory");
        let mut all: Vec<usize> = Vec::new();
        for step in 0..3000 {
            let place = random.below(places as u64) as usize;
            let place = if step / 500 % 2 == 0 { place } else { place / 4 };
            all.push(place);
            window.record(place);
            let last = &all[all.len().saturating_sub(length)..];
            let count = |place: usize| last.iter().filter(|other| **other == place).count();
            let order: Vec<usize> = window.most_common().collect();
            assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), last.iter().copied().collect(), "step {step}");
            assert!(order.is_sorted_by(|a, b| count(*a) >= count(*b)), "step {step}: {order:?} of {last:?}");
            for back in [1, 2, length] {
                let model = last.iter().rev().take(back).filter(|other| **other == place).count();
                assert_eq!(window.among_last(back, place) as usize, model, "step {step}");
            }
        }
    }
}

#[test]
fn followers_come_by_their_number_and_the_newest_first_among_equals() {
    let list = |followers: &Followers| {
        let mut list = Sizes::default();
        followers.add_to(&mut list, MOST_PREDICTED);
        list.to_vec()
    };
    let mut followers = Followers::default();
    [5, 5, 7, 9].into_iter().for_each(|size| followers.saw(size));
    assert_eq!(list(&followers), [5, 9, 7]);
    followers.saw(7);
    assert_eq!(list(&followers), [7, 5, 9]);
    (100..120).for_each(|size| followers.saw(size));
    assert_eq!(list(&followers)[..2], [7, 5], "what came once does not drive out what came twice");
    assert_eq!(list(&followers).len(), MOST_PREDICTED);
    (0..1000).for_each(|_| followers.saw(1));
    (0..300).for_each(|_| followers.saw(2));
    assert_eq!(list(&followers)[0], 2, "what came lately weighs more");
}

/// The rules of docs/predictor.md with lists and maps, without a bound.
#[derive(Default)]
struct Naive {
    all: Vec<u64>,
    hits: u64,
    predicted: u64,
    waste: u64,
}

impl Naive {
    /// What `method` may say: each predicted size must come as often after the context as any that is not predicted.
    fn check(&self, method: Method, predicted: &[u64], options: &PredictorOptions) {
        let window = &self.all[self.all.len().saturating_sub(options.window as usize)..];
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        match method {
            Method::MostCommon => window.iter().for_each(|size| *counts.entry(*size).or_default() += 1),
            _ => {
                let last = self.all.last();
                let pairs = self.all.windows(2).filter(|pair| Some(&pair[0]) == last);
                pairs.for_each(|pair| *counts.entry(pair[1]).or_default() += 1);
            }
        }
        let most = options.count as usize;
        let count = |size: &u64| counts.get(size).copied().unwrap_or(0);
        let least = predicted.iter().map(count).min().unwrap_or(0);
        let better = counts.iter().filter(|(size, uses)| !predicted.contains(size) && **uses > least).count();
        assert_eq!(better, 0, "{method:?} said {predicted:?} of {counts:?}");
        let known: BTreeSet<u64> = window.iter().copied().chain(counts.keys().copied()).collect();
        assert_eq!(predicted.len(), most.min(known.len()), "{method:?} fills up with what is common");
    }
}

#[test]
fn predictions_hits_and_waste_are_what_the_model_says() {
    for (seed, method) in [Method::MostCommon, Method::Markov].into_iter().cycle().take(12).enumerate() {
        let mut random = Random(seed as u64);
        let options = || PredictorOptions {
            method,
            count: 1 + seed as u32 % 4,
            window: 20,
            most_sizes: 32,
            ..PredictorOptions::default()
        };
        let (predictor, mut naive) = (predictor(options()), Naive::default());
        let mut size = 8;
        // Few enough sizes that nothing is forgotten, few enough steps that no count is halved.
        for _ in 0..400 {
            let predicted = predictor.predict();
            size = 8 * (1 + if random.below(3) == 0 { random.below(6) } else { (size / 8) % 6 });
            let hit = predictor.record(size).expect("a size");
            assert_eq!(hit, predicted.contains(&size));
            naive.hits += hit as u64;
            naive.predicted += predicted.iter().sum::<u64>();
            naive.waste += predicted.iter().filter(|other| **other != size).sum::<u64>();
            naive.all.push(size);
            naive.check(method, &predictor.predict(), &options());
        }
        let stats = predictor.stats();
        assert_eq!((stats.records, stats.predictions), (400, 399));
        assert_eq!((stats.hits, stats.predicted_bytes, stats.waste_bytes), (naive.hits, naive.predicted, naive.waste));
        assert_eq!(stats.sizes, 6);
    }
}

#[test]
fn memory_is_bounded_and_the_same_records_give_the_same_predictions() {
    for method in METHODS {
        let options = || PredictorOptions { method, window: 8, most_sizes: 8, count: 8, ..PredictorOptions::default() };
        let (one, two) = (predictor(options()), predictor(options()));
        let mut random = Random(9);
        let mut most_sizes_at_a_time = BTreeSet::new();
        for step in 0..5000u64 {
            let size = 1 + random.below(if step % 1000 < 500 { 5 } else { 1 << 40 });
            assert_eq!(one.record(size).expect("a size"), two.record(size).expect("a size"));
            assert_eq!(*one.predict(), *two.predict());
            assert!(one.predict().len() <= 8);
            assert!(one.predict().iter().collect::<BTreeSet<_>>().len() == one.predict().len(), "no size twice");
            most_sizes_at_a_time.insert(one.stats().sizes);
        }
        assert_eq!(one.stats(), two.stats());
        assert_eq!(most_sizes_at_a_time.last(), Some(&8));
        assert!(one.stats().evictions > 2000);
    }
}

#[test]
fn what_is_forgotten_leaves_nothing_to_who_takes_its_place() {
    for method in [Method::Markov, Method::Markov2] {
        let options =
            PredictorOptions { method, count: 1, window: 1, most_sizes: 1, steps_in_flight: 1, ..Default::default() };
        let predictor = after(&[10, 20, 30].repeat(3), options);
        assert_eq!(*predictor.predict(), [if method == Method::Markov { 30 } else { 10 }]);
        // Each of another magnitude, which is all that pairs know of a size that came once.
        for size in (7..16).map(|power| 1 << power) {
            predictor.record(size).expect("a size");
            assert_eq!(*predictor.predict(), [size], "nothing is known of it, and it is the window");
        }
        let suggestion = predictor.suggested_pools().expect("memory");
        assert_eq!((suggestion.uses, suggestion.bytes), (1, 1 << 15));
    }
}

#[test]
fn sums_stop_at_the_largest_number() {
    let predictor =
        after(&[isize::MAX as u64, 5, 6, 7, isize::MAX as u64 - 1, 9].repeat(9), PredictorOptions::default());
    assert_eq!(predictor.stats().predicted_bytes, u64::MAX);
    let error = predictor.record(isize::MAX as u64 + 1).expect_err("too large");
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(predictor.record(0).expect_err("nothing").status(), Status::InvalidArgument);
    assert_eq!(predictor.stats().records, 54, "a refused size is not recorded");
}

#[test]
fn options_out_of_their_limits_are_refused_by_name() {
    type Change = fn(&mut PredictorOptions);
    let cases: [(&str, Change); 8] = [
        ("count is 0: 1 to 8", |o| o.count = 0),
        ("count is 9: 1 to 8", |o| o.count = 9),
        ("window is 0: 1 to 4096", |o| o.window = 0),
        ("window is 4097: 1 to 4096", |o| o.window = 4097),
        ("most_sizes is 99: 100 to 4096", |o| o.most_sizes = 99),
        ("most_sizes is 4097: 100 to 4096", |o| o.most_sizes = 4097),
        ("steps_in_flight is 0: 1 to 100", |o| o.steps_in_flight = 0),
        ("steps_in_flight is 101: 1 to 100", |o| o.steps_in_flight = 101),
    ];
    for (message, change) in cases {
        let mut options = PredictorOptions::default();
        change(&mut options);
        assert_eq!(refused(options), Some((Status::InvalidArgument, message.to_owned())));
    }
}

// ---- Runs of different character -------------------------------------------------------------------------------------

const STEPS: usize = 20_000;

/// Runs by name; those with chance in them depend on the seed.
fn runs(seed: u64) -> Vec<(&'static str, Vec<u64>)> {
    let mut random = Random(seed);
    let mut run = |name, next: &mut dyn FnMut(usize, &mut Random) -> u64| {
        (name, (0..STEPS).map(|step| 64 * next(step, &mut random)).collect())
    };
    let total: f64 = (1..=64).map(|rank| 1.0 / rank as f64).sum();
    let zipf = |random: &mut Random| {
        let mut left = random.unit() * total;
        (1..=64)
            .find(|rank| {
                left -= 1.0 / *rank as f64;
                left < 0.0
            })
            .unwrap_or(64)
    };
    let (mut walk, mut burst, mut regime, mut at) = (64u64, (1, 0), 0, 0usize);
    vec![
        run("constant", &mut |_, _| 7),
        run("cyclic", &mut |step, _| 1 + step as u64 % 7),
        run("a cycle longer than the window", &mut |step, _| 1 + step as u64 % 200),
        run("a size that two others follow in turn", &mut |_, random| {
            at = if random.unit() < 0.95 { at + 1 } else { random.below(4) as usize };
            [1, 2, 1, 3][at % 4]
        }),
        run("random walk", &mut |_, random| {
            walk = (walk + random.below(3)).saturating_sub(1).clamp(1, 256);
            walk
        }),
        run("bursts", &mut |_, random| {
            burst = if burst.1 == 0 { (1 + random.below(20), random.below(40)) } else { (burst.0, burst.1 - 1) };
            burst.0
        }),
        run("uniform noise", &mut |_, random| 1 + random.below(32)),
        run("noise of many sizes", &mut |_, random| 1 + random.below(1000)),
        run("zipf", &mut |_, random| zipf(random)),
        run("regimes", &mut |step, random| {
            regime = if step % 500 == 0 { random.below(1000) } else { regime };
            1 + regime + if random.unit() < 0.7 { random.below(3) } else { 3 + random.below(20) }
        }),
        run("a cycle that turns into noise", &mut |step, random| {
            if step < STEPS / 4 { 1 + step as u64 % 9 } else { zipf(random) }
        }),
    ]
}

#[test]
fn the_default_is_never_below_the_most_common_size() {
    for seed in 1..=3 {
        for count in [1, 3, 8] {
            for (name, run) in runs(seed) {
                let stats = after(&run, PredictorOptions { count, ..PredictorOptions::default() }).stats();
                assert!(
                    stats.hits >= stats.most_common_hits,
                    "{name}, seed {seed}, {count} predicted: {} hits, most common {}",
                    stats.hits,
                    stats.most_common_hits
                );
            }
        }
    }
}

#[test]
fn the_default_is_close_to_the_best_of_the_methods() {
    for (name, run) in runs(1) {
        for count in [1, 3] {
            let hits = METHODS.map(|method| {
                after(&run, PredictorOptions { method, count, ..PredictorOptions::default() }).stats().hits
            });
            let best = hits.into_iter().max().unwrap_or(0);
            assert!(hits[3] + STEPS as u64 / 100 >= best, "{name}, {count} predicted: {hits:?}");
        }
    }
}

#[test]
fn a_size_that_two_others_follow_in_turn_needs_two_sizes_of_memory() {
    let run: Vec<u64> = [1, 2, 1, 3].into_iter().cycle().take(2000).collect();
    let options = |method| PredictorOptions { method, count: 1, ..PredictorOptions::default() };
    let hits = |method| after(&run, options(method)).stats().hits;
    assert!(hits(Method::Markov) <= 1500);
    assert!(hits(Method::Markov2) >= 1990);
    let blend = after(&run, options(Method::Blend));
    assert!(blend.stats().hits > 1900);
    assert_eq!(blend.believed(), Method::Markov2);
}

#[test]
fn after_a_size_that_came_never_before_its_magnitude_is_gone_by() {
    // Two batches in turns for long; between the steps of each a prompt's rest that is of another length each time.
    let mut random = Random(5);
    let run: Vec<u64> = (0..STEPS)
        .map(|step| match step % 2 {
            0 => 8 * (1 + step as u64 / 1000 % 2),
            _ => 1024 + random.below(1024),
        })
        .collect();
    let options = |method| PredictorOptions { method, count: 1, ..PredictorOptions::default() };
    let hits = |method| after(&run, options(method)).stats().hits;
    assert!(hits(Method::Markov) < 9_500, "the most common size of the window lags behind each change");
    assert!(hits(Method::Markov2) > 9_900);
    let blend = after(&run, options(Method::Blend));
    assert!(blend.stats().hits > hits(Method::Markov));
}

// ---- Suggestions -----------------------------------------------------------------------------------------------------

/// Padding with the best way to serve these sizes by so many pools.
fn least_padding(sizes: &[(u64, Figures)], pools: usize) -> u128 {
    let count = sizes.len();
    let with = |chosen: u32| {
        let mut padding = 0;
        let mut block = u64::MAX;
        for (at, (size, figures)) in sizes.iter().enumerate().rev() {
            block = if at == count - 1 || chosen & 1 << at != 0 { *size } else { block };
            padding += (block - size) as u128 * figures.uses as u128;
        }
        padding
    };
    let choices = (0..1u32 << (count - 1)).filter(|chosen| chosen.count_ones() as usize == pools - 1);
    choices.map(with).min().expect("a choice")
}

#[test]
fn suggested_pools_are_the_best_of_their_number() {
    let mut random = Random(3);
    for _ in 0..200 {
        let count = 1 + random.below(9) as usize;
        let mut sizes: BTreeMap<u64, Figures> = BTreeMap::new();
        while sizes.len() < count {
            let figures = Figures { uses: 1 + random.below(50), peak: 1 + random.below(3) as u32, warmed: 0 };
            sizes.insert(1 + random.below(1000), figures);
        }
        let sizes: Vec<_> = sizes.into_iter().collect();
        let suggestion = best_pools(&sizes, 4).expect("memory");
        let pools = suggestion.pools.len();
        assert_eq!(suggestion.padding, least_padding(&sizes, pools), "{sizes:?}");
        let enough = |padding: u128| padding * 10 <= suggestion.bytes + padding;
        assert!(pools == count.min(4) || enough(suggestion.padding));
        assert!(pools == 1 || !enough(least_padding(&sizes, pools - 1)), "no more pools than it takes");
        assert_eq!(suggestion.pools.iter().map(|pool| pool.uses).sum::<u64>(), suggestion.uses);
        assert_eq!(suggestion.pools.last().map(|pool| pool.block_bytes), sizes.last().map(|(size, _)| *size));
        let mut from = 0;
        for pool in &suggestion.pools {
            let own = sizes.iter().filter(|(size, _)| *size > from && *size <= pool.block_bytes);
            let peaks: u32 = own.map(|(_, figures)| figures.peak).sum();
            assert_eq!(pool.block_count, peaks.min(4));
            from = pool.block_bytes;
        }
    }
}

#[test]
fn a_suggestion_is_text_to_paste() {
    let options = PredictorOptions { steps_in_flight: 3, ..PredictorOptions::default() };
    assert_eq!(
        predictor(PredictorOptions::default()).suggest().expect("memory"),
        "// 0 of 0 records in 0 pools, 0.0 % of their bytes padding\n"
    );
    let run: Vec<u64> = [4096, 4096, 4000, 1 << 20].into_iter().cycle().take(400).collect();
    let text = after(&run, options).suggest().expect("memory");
    assert_eq!(
        text,
        "// 400 of 400 records in 2 pools, 0.0 % of their bytes padding\n\
         gpubuf::pool::create(device, 4096, 3);  // 75.0 % of the records\n\
         gpubuf::pool::create(device, 1048576, 1);  // 25.0 % of the records\n"
    );
}
