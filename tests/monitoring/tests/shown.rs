//! Every metric a program registers is drawn in a dashboard or read by an alert, or `unshown.yaml` says why not. Names are
//! read from the sources: a counter nobody has touched yet is in no scrape.

#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tintype_monitoring::{alerts, dashboards, folder, metrics, root};

/// Where programs register what they count.
const SOURCES: [&str; 5] = ["api/src", "operator/src", "gpu-worker/src", "provider/src", "crates"];
/// Whose metrics they are: the second word of each name.
const OWNERS: [&str; 7] = ["api", "operator", "worker", "provider", "dispatch", "telemetry", "scheduler"];
/// Functions of ours that put the owner before a name.
const NAMERS: [&str; 4] = ["counter(", "gauge(", "gauges(", "histogram("];
/// What Prometheus has of a histogram.
const PARTS: [&str; 4] = ["", "_bucket", "_sum", "_count"];

#[test]
fn every_metric_is_shown_or_alerted_on_or_says_why_not() {
    let mut registered = BTreeSet::new();
    for source in SOURCES {
        read(&root().join(source), &mut registered);
    }
    assert!(registered.len() > 60, "the sources were not understood: {registered:#?}");

    let panels = dashboards().unwrap().into_iter().flat_map(|dashboard| dashboard.panels);
    let mut read: BTreeSet<String> =
        panels.flat_map(|panel| panel.queries).flat_map(|query| metrics(&query.expr)).collect();
    read.extend(alerts().unwrap().iter().flat_map(|alert| metrics(&alert.expr)));
    let reasons = fs::read_to_string(folder().join("unshown.yaml")).unwrap();
    let reasons: BTreeMap<String, String> = serde_yaml_ng::from_str(&reasons).unwrap();

    let is_read = |name: &String| PARTS.iter().any(|part| read.contains(&format!("{name}{part}")));
    let missing: Vec<_> = registered.iter().filter(|name| !is_read(name) && !reasons.contains_key(*name)).collect();
    assert!(missing.is_empty(), "nobody sees {missing:#?}: draw them, or say why not in unshown.yaml");
    for (name, reason) in &reasons {
        assert!(registered.contains(name) && !is_read(name), "{name} is shown, or there is no such metric");
        assert!(reason.ends_with('.'), "{name}: a reason is a sentence");
    }
    let known =
        |name: &String| registered.iter().any(|metric| PARTS.iter().any(|part| *name == format!("{metric}{part}")));
    let invented: Vec<_> = read.iter().filter(|name| !known(name)).collect();
    assert!(invented.is_empty(), "no program registers {invented:#?}");
}

/// The names in all sources below a folder.
fn read(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests" && name != "benches") {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.extend(names(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names of metrics in a source: those written out, and those that get their owner from a function of ours.
fn names(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let parts: Vec<&str> = source.split('"').collect();
    // Every second part is between quotes.
    let quoted = parts.iter().zip(parts.iter().skip(1)).step_by(2);
    let owned = |text: &str| OWNERS.iter().find(|owner| text.starts_with(&format!("tintype_{owner}_"))).copied();
    // What ends with `_` is how names begin, and no name.
    let is_name = |text: &str| {
        !text.is_empty()
            && !text.ends_with('_')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let owner = quoted.clone().find(|(_, text)| text.ends_with("_{name}")).and_then(|(_, text)| owned(text));
    let name = |(before, text): (&&str, &&str)| {
        let by_function = NAMERS.iter().any(|namer| before.trim_end().ends_with(namer));
        match (owned(text), owner) {
            (Some(_), _) if is_name(text) => Some((*text).to_owned()),
            (None, Some(owner)) if by_function && is_name(text) => Some(format!("tintype_{owner}_{text}")),
            (_, _) => None,
        }
    };
    quoted.filter_map(name).collect()
}

#[test]
fn names_are_found_written_out_or_behind_a_function() {
    let source = r#"
        let counter = |name: &str| Opts::new(format!("tintype_worker_{name}"), "help");
        let a = counter("calls_total", "not_this");
        let b = counter(
            "images_total",
        );
        let c = Opts::new("tintype_api_http_requests_total", "tintype is no name");
        const KIND: &str = "tintype_session";
        let ours = counted(page, "tintype_operator_");
        #[cfg(test)] mod tests { counter("never_total"); }
    "#;
    let found: Vec<_> = names(source).into_iter().collect();
    assert_eq!(found, ["tintype_api_http_requests_total", "tintype_worker_calls_total", "tintype_worker_images_total"]);
}
