//! What size the next step will have: sizes are recorded, the likeliest next ones predicted, and memory for them made ahead.
//!
//! Everything is of bounded size and made at the start: recording and predicting allocate nothing and take a time that does
//! not depend on what was recorded. The same records give the same predictions.

mod blend;
mod followers;
mod model;
#[cfg(test)]
mod properties;
mod sizes;
mod suggest;
mod table;
mod warm;
mod window;

pub use sizes::Sizes;
pub use suggest::{SuggestedPool, Suggestion};
pub use warm::Warmed;

use crate::error::{Result, try_vec};
use crate::fail;
use crate::fence::{Device, Member, Name};
use crate::stats::Record;
use crate::sync::{Arc, Mutex, Weak};
use blend::Blend;
use model::Model;

/// How the next size is predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Method {
    /// The sizes that were the most frequent of the last `window` ones.
    MostCommon = 0,
    /// Those that came most often after the last size, then the most common ones.
    Markov = 1,
    /// Those that came most often after the last two sizes, a rare one by its magnitude, then as [`Method::Markov`].
    Markov2 = 2,
    /// Whichever of them does best: the most common ones, until another has hit more often than chance explains.
    #[default]
    Blend = 3,
}

impl Method {
    /// In words, as in the C header.
    pub fn name(self) -> &'static str {
        match self {
            Method::MostCommon => "most_common",
            Method::Markov => "markov",
            Method::Markov2 => "markov2",
            Method::Blend => "blend",
        }
    }
}

/// The most sizes of one prediction.
pub const MOST_PREDICTED: usize = 8;
/// The most sizes that a predictor knows at a time.
pub const MOST_SIZES: u32 = 4096;
/// Up to so many sizes known, reports have the pools that are suggested.
const MOST_SIZES_IN_REPORTS: u64 = 256;

/// What a predictor is to be.
pub struct PredictorOptions {
    /// How it predicts.
    pub method: Method,
    /// How many sizes it predicts: a hit is a next size among so many; up to [`MOST_PREDICTED`].
    pub count: u32,
    /// Over how many records the most common sizes are counted.
    pub window: u32,
    /// The most sizes known at a time, from `window` up to [`MOST_SIZES`]: another takes the place of the least recently used.
    pub most_sizes: u32,
    /// How many steps are under way at a time, up to `window`: a size that comes twice within so many needs two blocks.
    pub steps_in_flight: u32,
    /// The label, or empty.
    pub label: String,
}

impl Default for PredictorOptions {
    fn default() -> PredictorOptions {
        PredictorOptions {
            method: Method::default(),
            count: 3,
            window: 100,
            most_sizes: 256,
            steps_in_flight: 2,
            label: String::new(),
        }
    }
}

/// Predicts sizes. Any thread.
pub struct Predictor {
    name: Name,
    method: Method,
    count: usize,
    steps_in_flight: usize,
    state: Mutex<State>,
}

struct State {
    model: Model,
    blend: Blend,
    /// What was predicted for the next record, and what the most common sizes would have been.
    predicted: Sizes,
    most_common: Sizes,
    /// By place of the size.
    figures: Vec<Figures>,
    stats: PredictorStats,
}

/// What is known of one size, besides what it predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    /// Times it came.
    uses: u64,
    /// The most times it came within `steps_in_flight` records.
    peak: u32,
    /// Bytes that were made for it since it came last.
    warmed: u64,
}

/// What a predictor counts. Bytes stop at the largest number there is.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictorStats {
    pub records: u64,
    /// Records before which there was a prediction: all but the first.
    pub predictions: u64,
    /// Those whose size was among the predicted ones.
    pub hits: u64,
    /// Those whose size was among the most common ones of the window.
    pub most_common_hits: u64,
    /// Of all predicted sizes.
    pub predicted_bytes: u64,
    /// Of those that were predicted and did not come next.
    pub waste_bytes: u64,
    /// What was made ahead.
    pub warmed_bytes: u64,
    /// Of that, what was made for a size that has come since.
    pub warmed_used_bytes: u64,
    /// Sizes that are known.
    pub sizes: u64,
    /// Sizes that made room for others.
    pub evictions: u64,
}

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<usize> {
    if !(least..=most).contains(&value) {
        return fail!(InvalidArgument, "{name} is {value}: {least} to {most}");
    }
    Ok(value as usize)
}

impl Predictor {
    /// A predictor that knows nothing yet. With a device, it is in that device's reports.
    pub fn create(device: Option<&Arc<Device>>, options: PredictorOptions) -> Result<Arc<Predictor>> {
        let PredictorOptions { method, count, window, most_sizes, steps_in_flight, label } = options;
        let count = within("count", count, 1, MOST_PREDICTED as u32)?;
        let length = within("window", window, 1, MOST_SIZES)?;
        let places = within("most_sizes", most_sizes, window, MOST_SIZES)?;
        let steps_in_flight = within("steps_in_flight", steps_in_flight, 1, window)?;
        let predictor = Arc::new(Predictor {
            name: Name::new("predictor", &label),
            method,
            count,
            steps_in_flight,
            state: Mutex::new(State {
                model: Model::new(method, length, places)?,
                blend: Blend::default(),
                predicted: Sizes::default(),
                most_common: Sizes::default(),
                figures: try_vec(places, Figures::default(), "a predictor")?,
                stats: PredictorStats::default(),
            }),
        });
        if let Some(device) = device {
            let member: Weak<Predictor> = Arc::downgrade(&predictor);
            device.enroll(member);
        }
        Ok(predictor)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// How it predicts.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method that it goes by at the moment: a blend's choice, else its own.
    pub fn believed(&self) -> Method {
        match self.method {
            Method::Blend => self.state.lock().blend.chosen(),
            own => own,
        }
    }

    /// The next step has come, with this size in bytes. Returns whether it was predicted.
    pub fn record(&self, size: u64) -> Result<bool> {
        if size == 0 || size > isize::MAX as u64 {
            return fail!(InvalidArgument, "size is {size}: at least 1 byte, and within the address space");
        }
        Ok(self.state.lock().record(self, size))
    }

    /// The sizes that the next step may have, the likeliest first; none before the first record.
    pub fn predict(&self) -> Sizes {
        self.state.lock().predicted
    }

    /// What it counts.
    pub fn stats(&self) -> PredictorStats {
        let state = self.state.lock();
        let sizes = state.model.sizes();
        PredictorStats { sizes: sizes.len() as u64, evictions: sizes.evictions(), ..state.stats }
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        let stats = self.stats();
        format!(
            "{}: {} by {}; {} of {} predictions hit, {} sizes",
            self.name,
            self.method.name(),
            self.believed().name(),
            stats.hits,
            stats.predictions,
            stats.sizes
        )
    }
}

impl State {
    fn record(&mut self, of: &Predictor, size: u64) -> bool {
        let stats = &mut self.stats;
        let hit = self.predicted.contains(&size);
        if stats.records > 0 {
            stats.predictions += 1;
            stats.hits += hit as u64;
            stats.most_common_hits += self.most_common.contains(&size) as u64;
            let predicted = self.predicted.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
            let waste = predicted - if hit { size } else { 0 };
            stats.predicted_bytes = stats.predicted_bytes.saturating_add(predicted);
            stats.waste_bytes = stats.waste_bytes.saturating_add(waste);
        }
        stats.records += 1;
        if of.method == Method::Blend {
            self.blend.judge(size);
        }
        let place = self.model.record(size);
        let figures = &mut self.figures[place.at];
        if place.is_new {
            *figures = Figures::default();
        }
        figures.uses += 1;
        figures.peak = figures.peak.max(self.model.window().among_last(of.steps_in_flight, place.at));
        stats.warmed_used_bytes = stats.warmed_used_bytes.saturating_add(std::mem::take(&mut figures.warmed));
        self.most_common = self.model.expects(Method::MostCommon, of.count);
        self.predicted = match of.method {
            Method::Blend => self.blend.expect(&self.model, of.count),
            own => self.model.expects(own, of.count),
        };
        hit
    }
}

impl Member for Predictor {
    fn record(&self) -> Record {
        let stats = self.stats();
        let rate = |hits: u64| (stats.predictions > 0).then(|| hits as f64 / stats.predictions as f64);
        let record = Record::new("predictor", &self.name)
            .with("method", self.method.name())
            .with("believed", self.believed().name())
            .with("records", stats.records)
            .with("predictions", stats.predictions)
            .with("hits", stats.hits)
            .with("hit_rate", rate(stats.hits))
            .with("most_common_hits", stats.most_common_hits)
            .with("most_common_hit_rate", rate(stats.most_common_hits))
            .with("predicted_bytes", stats.predicted_bytes)
            .with("waste_bytes", stats.waste_bytes)
            .with("warmed_bytes", stats.warmed_bytes)
            .with("warmed_used_bytes", stats.warmed_used_bytes)
            .with("sizes", stats.sizes)
            .with("evictions", stats.evictions);
        // What it costs grows with the square of the sizes: a report is to be cheap.
        let pools = if stats.sizes <= MOST_SIZES_IN_REPORTS {
            self.suggested_pools().unwrap_or_default().pools
        } else {
            Vec::new()
        };
        let part = |pool: &SuggestedPool| {
            Record::new("suggested pool", format_args!("pool for {} records", pool.uses))
                .with("block_bytes", pool.block_bytes)
                .with("block_count", pool.block_count)
        };
        pools.iter().fold(record, |record, pool| record.with_part(part(pool)))
    }
}
