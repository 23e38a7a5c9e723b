//! Which method is believed: the most common size, until another has been right more often than chance explains.

use super::model::{EXPERTS, Model};
use super::{Method, Sizes};

/// Over how many steps evidence fades.
const MEMORY: f64 = 2048.0;
/// How many standard deviations an advantage must have.
const CERTAIN: f64 = 3.0;

/// A method against the most common size.
#[derive(Clone, Copy, Default)]
struct Evidence {
    /// It was right, and the most common was not; lately, and fading.
    ahead: f64,
    /// The other way round.
    behind: f64,
    is_believed: bool,
}

/// What each method expected, and how they did.
#[derive(Default)]
pub(super) struct Blend {
    expected: [Sizes; EXPERTS.len()],
    evidence: [Evidence; EXPERTS.len()],
    chosen: usize,
}

impl Blend {
    /// The next size has come: who was right?
    pub fn judge(&mut self, size: u64) {
        let common = self.expected[0].contains(&size);
        for (expected, evidence) in self.expected.iter().zip(&mut self.evidence).skip(1) {
            let right = expected.contains(&size);
            evidence.ahead += (right && !common) as u32 as f64 - evidence.ahead / MEMORY;
            evidence.behind += (common && !right) as u32 as f64 - evidence.behind / MEMORY;
            let (lead, differing) = (evidence.ahead - evidence.behind, evidence.ahead + evidence.behind);
            evidence.is_believed = lead > if evidence.is_believed { 0.0 } else { CERTAIN * differing.sqrt() };
        }
        let lead = |expert: &usize| self.evidence[*expert].ahead - self.evidence[*expert].behind;
        // Among equals the one that needs to know less.
        let believed = (1..EXPERTS.len()).rev().filter(|expert| self.evidence[*expert].is_believed);
        self.chosen = believed.max_by(|a, b| lead(a).total_cmp(&lead(b))).unwrap_or(0);
    }

    /// What each method expects next; returns what the believed one does.
    pub fn expect(&mut self, model: &Model, most: usize) -> Sizes {
        for (expected, method) in self.expected.iter_mut().zip(EXPERTS) {
            *expected = model.expects(method, most);
        }
        self.expected[self.chosen]
    }

    /// The method that is believed.
    pub fn chosen(&self) -> Method {
        EXPERTS[self.chosen]
    }
}
