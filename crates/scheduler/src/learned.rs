//! What was learned of what work costs, as it is kept from one start to the next.

use serde::{Deserialize, Serialize};

use crate::cost::{Costs, SavedCosts};
use crate::names::Names;

/// What runs and loads take, learned from attempts that ended. Its inside is not a contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Learned(SavedCosts);

impl Learned {
    /// At most this many runs and as many loads of it: those most is known of.
    pub(crate) fn heaviest(costs: &Costs, names: &Names, most: usize) -> Self {
        Self(costs.heaviest(names, most))
    }

    /// Adds what somebody says of a model before any of it was seen: milliseconds of a step and of a load; 0 is not known.
    pub fn hint(&mut self, model: &str, step_ms: u32, load_ms: u32) {
        self.0.hint(model, step_ms, load_ms);
    }

    pub(crate) fn into_saved(self) -> SavedCosts {
        self.0
    }
}
