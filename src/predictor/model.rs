//! What comes next, as each method sees it.

use super::followers::Followers;
use super::table::{Place, Table};
use super::window::Window;
use super::{Method, Sizes};
use crate::error::{Result, try_vec};

/// The methods that a blend chooses from, in the order of what they know.
pub(super) const EXPERTS: [Method; 3] = [Method::MostCommon, Method::Markov, Method::Markov2];

/// A size that was followed less often than this says little of what follows; its magnitude after the size before does.
/// A prompt's rest is such a size: what comes behind it is much as before.
const FAMILIAR: u32 = 16;

/// Contexts of two sizes that are kept for each size.
const PAIRS_PER_SIZE: usize = 4;

/// The size's power of two, as a number that no size is.
fn magnitude(size: u64) -> u64 {
    u64::MAX - size.ilog2() as u64
}

/// What was seen.
pub(super) struct Model {
    sizes: Table<u64>,
    window: Window,
    /// By place of the size that came last.
    after_one: Vec<Followers>,
    /// The two sizes that came last, the last one by its magnitude while it is not familiar.
    pairs: Table<[u64; 2]>,
    after_two: Vec<Followers>,
    /// Where the last size is, and the last two.
    last: Option<usize>,
    last_pair: Option<usize>,
}

impl Model {
    pub fn new(method: Method, window: usize, most_sizes: usize) -> Result<Model> {
        let knows = |needed: Method| (method as u32 >= needed as u32) as usize;
        let pairs = most_sizes * PAIRS_PER_SIZE * knows(Method::Markov2);
        Ok(Model {
            sizes: Table::new(most_sizes)?,
            window: Window::new(window, most_sizes)?,
            after_one: try_vec(most_sizes * knows(Method::Markov), Followers::default(), "a predictor")?,
            pairs: Table::new(pairs)?,
            after_two: try_vec(pairs, Followers::default(), "a predictor")?,
            last: None,
            last_pair: None,
        })
    }

    /// This size came. Returns its place among the sizes.
    pub fn record(&mut self, size: u64) -> Place {
        if let Some(at) = self.last.filter(|at| *at < self.after_one.len()) {
            self.after_one[at].saw(size);
        }
        if let Some(at) = self.last_pair {
            self.after_two[at].saw(size);
        }
        let before = self.last.map(|at| self.sizes.key(at));
        let place = self.sizes.touch(size);
        self.window.record(place.at);
        if place.is_new
            && let Some(after) = self.after_one.get_mut(place.at)
        {
            *after = Followers::default();
        }
        self.last = Some(place.at);
        self.last_pair = before.filter(|_| !self.after_two.is_empty()).map(|before| {
            let is_familiar = self.after_one[place.at].seen() >= FAMILIAR;
            let pair = self.pairs.touch([before, if is_familiar { size } else { magnitude(size) }]);
            if pair.is_new {
                self.after_two[pair.at] = Followers::default();
            }
            pair.at
        });
        place
    }

    /// The sizes that this method expects next, up to `most`, the likeliest first: what it does not know is left to the one
    /// that knows less.
    pub fn expects(&self, method: Method, most: usize) -> Sizes {
        let mut list = Sizes::default();
        if method as u32 >= Method::Markov2 as u32
            && let Some(at) = self.last_pair
        {
            self.after_two[at].add_to(&mut list, most);
        }
        if method as u32 >= Method::Markov as u32
            && let Some(at) = self.last
        {
            self.after_one[at].add_to(&mut list, most);
        }
        for at in self.window.most_common() {
            if list.len() == most {
                break;
            }
            list.add(self.sizes.key(at), most);
        }
        list
    }

    pub fn sizes(&self) -> &Table<u64> {
        &self.sizes
    }

    pub fn window(&self) -> &Window {
        &self.window
    }
}
