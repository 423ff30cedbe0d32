//! The flags every program that traces has.

use clap::Args;

/// Where traces go, and how many. The variables are those of the OpenTelemetry specification; `OTEL_EXPORTER_OTLP_HEADERS`
/// and `OTEL_RESOURCE_ATTRIBUTES` count as well.
#[derive(Args, Clone, Debug)]
pub struct TelemetryArgs {
    /// Send traces to this collector, by OTLP over HTTP: http://collector:4318. Left out, there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Of the traces that begin here, the part that is kept, 0 to 1. What is part of a trace already is kept if that is.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO", default_value = "1", value_parser = ratio)]
    pub trace_ratio: f64,
}

impl Default for TelemetryArgs {
    fn default() -> Self {
        Self { otlp_endpoint: None, trace_ratio: 1.0 }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "give a number from 0 (none) to 1 (all), such as 0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_part_of_one() {
        assert_eq!((ratio("0"), ratio("0.25"), ratio("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        for wrong in ["-0.1", "1.1", "NaN", "all", ""] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
