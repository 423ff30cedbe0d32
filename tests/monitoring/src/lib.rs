//! Dashboards and alerts as data. The files are in `charts/tintype/monitoring`; here is what reads them, what writes
//! Grafana's JSON from them, and where the real Prometheus comes from that checks them.

mod alerts;
mod dashboards;
mod grafana;
mod tools;

use std::path::{Path, PathBuf};

pub use alerts::{Alert, alerts};
pub use dashboards::{Dashboard, Kind, Panel, Query, dashboards};
pub use tools::{prometheus, promtool};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where the alerts and dashboards are.
pub fn folder() -> PathBuf {
    root().join("charts/tintype/monitoring")
}

/// The names of our metrics in an expression, each once.
pub fn metrics(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut names: Vec<String> = words.filter(|word| word.starts_with("tintype_")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// The expression with its comparisons answering 0 or 1 (`bool`) where they would keep or drop: it has a value for every series
/// it would judge, and none where labels do not match.
pub fn unfiltered(expression: &str) -> String {
    let mut text = String::new();
    let (mut in_selector, mut quoted) = (false, false);
    let mut rest = expression.chars().peekable();
    while let Some(letter) = rest.next() {
        text.push(letter);
        match letter {
            '"' => quoted = !quoted,
            '{' if !quoted => in_selector = true,
            '}' if !quoted => in_selector = false,
            '>' | '<' | '=' | '!' if !quoted && !in_selector => {
                text.extend(rest.next_if_eq(&'='));
                text.push_str(" bool");
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_judge_and_drop_nothing() {
        for (expression, expected) in [
            ("sum(a) == 0", "sum(a) == bool 0"),
            ("a{b!=\"<=\",c=~\"x|y\"} > 0.5 * d and e != 3", "a{b!=\"<=\",c=~\"x|y\"} > bool 0.5 * d and e != bool 3"),
            ("max(a <= 1) >= 2", "max(a <= bool 1) >= bool 2"),
        ] {
            assert_eq!(unfiltered(expression), expected);
        }
    }
}
