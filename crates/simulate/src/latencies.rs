//! How long loading a model takes: quantiles measured on the fleet the trace is from. Which quantile a model is at is
//! drawn from its name (FNV-1a, 64 bits), so that every tool draws the same.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The measured distribution of load times.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    /// Quantile and milliseconds, rising.
    quantiles: Vec<(f64, f64)>,
}

/// Why a file of latencies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatenciesError {
    /// It is not the JSON expected.
    #[error("the file of latencies is no JSON object with `base_model_load_ms.quantiles`")]
    Json(#[from] serde_json::Error),
    /// A number is out of range.
    #[error("the load quantiles must be numbers from 0 to 1 with milliseconds that are not negative")]
    Range,
}

#[derive(Deserialize)]
struct File {
    base_model_load_ms: Table,
}

#[derive(Deserialize)]
struct Table {
    quantiles: BTreeMap<String, f64>,
}

impl Latencies {
    /// Reads the JSON file beside a trace.
    pub fn read(text: &str) -> Result<Self, LatenciesError> {
        let file: File = serde_json::from_str(text)?;
        let pair = |(quantile, ms): (&String, &f64)| Some((quantile.parse().ok()?, *ms));
        let table = &file.base_model_load_ms.quantiles;
        let mut quantiles: Vec<(f64, f64)> =
            table.iter().map(pair).collect::<Option<_>>().ok_or(LatenciesError::Range)?;
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sane = |(quantile, ms): &(f64, f64)| (0.0..=1.0).contains(quantile) && (0.0..=1e9).contains(ms);
        if quantiles.is_empty() || !quantiles.iter().all(sane) {
            return Err(LatenciesError::Range);
        }
        Ok(Self { quantiles })
    }

    /// How long this model takes to load, in whole milliseconds, rounded up.
    pub fn load_ms(&self, model: &str) -> u64 {
        self.at(fnv1a(model) as f64 / 2_f64.powi(64)).ceil() as u64
    }

    /// Linear between the quantiles listed, clamped outside of them.
    fn at(&self, quantile: f64) -> f64 {
        let first = self.quantiles.first().copied().unwrap_or_default();
        if quantile <= first.0 {
            return first.1;
        }
        let pairs = self.quantiles.iter().zip(self.quantiles.iter().skip(1));
        for ((low, low_ms), (high, high_ms)) in pairs {
            if quantile <= *high {
                return low_ms + (high_ms - low_ms) * (quantile - low) / (high - low);
            }
        }
        self.quantiles.last().copied().unwrap_or_default().1
    }
}

fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // Vectors of the FNV reference code.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn between_quantiles_it_is_linear_and_outside_clamped() {
        let latencies =
            Latencies::read(r#"{"base_model_load_ms": {"quantiles": {"0.9": 30.0, "0.1": 10.0}}}"#).unwrap();
        assert!((latencies.at(0.5) - 20.0).abs() < 1e-9);
        assert!((latencies.at(0.0) - 10.0).abs() < 1e-9 && (latencies.at(1.0) - 30.0).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"base_model_load_ms": {"quantiles": {}}}"#,
            r#"{"base_model_load_ms": {"quantiles": {"2": 1}}}"#,
        ] {
            assert!(Latencies::read(text).is_err(), "{text}");
        }
    }
}
