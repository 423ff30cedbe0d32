//! What the examples render to, kept in `tests/charts/golden/`, so that a change of a template shows all it does. The defaults
//! are there whole; of each other example only the objects that differ. The kinds, alerts and dashboards are kept elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::helm::{examples, render, root};
use crate::manifest::{name, objects, text};

/// The objects of a rendering by their names, without what is drawn anew each time and what is kept elsewhere.
fn kept(rendered: &str) -> BTreeMap<String, Value> {
    let mut kept = BTreeMap::new();
    for mut object in objects(rendered) {
        match text(&object, "/kind") {
            "CustomResourceDefinition" => continue,
            "PrometheusRule" => object["spec"] = "charts/tintype/monitoring/alerts.yaml".into(),
            "ConfigMap" if object.pointer("/metadata/labels/grafana_dashboard").is_some() => {
                object["data"] = "charts/tintype/monitoring/dashboards".into();
            }
            "Secret" => {
                for made in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
                    *made = "(made once)".into();
                }
            }
            _ => {}
        }
        let called = name(&object);
        assert!(kept.insert(called.clone(), object).is_none(), "{called} is rendered twice");
    }
    kept
}

/// One example as it is kept: what the defaults have too is not said again.
fn written(example: &BTreeMap<String, Value>, defaults: Option<&BTreeMap<String, Value>>) -> String {
    let mut file = "# Written by UPDATE=1 cargo test -p tintype-tests --test charts golden. What it differs from: defaults.yaml.\n".to_owned();
    let nothing = BTreeMap::new();
    let defaults = defaults.unwrap_or(&nothing);
    for gone in defaults.keys().filter(|name| !example.contains_key(*name)) {
        writeln!(file, "# without {gone}").unwrap();
    }
    for (name, object) in example.iter().filter(|(name, object)| defaults.get(*name) != Some(object)) {
        let how = if defaults.contains_key(name) { "otherwise" } else { "new" };
        write!(file, "---\n# {how}: {name}\n{}", serde_yaml_ng::to_string(object).unwrap()).unwrap();
    }
    file
}

#[test]
fn every_example_renders_to_what_is_kept() {
    let folder = root().join("tests/charts/golden");
    let update = std::env::var_os("UPDATE").is_some();
    let (mut defaults, mut wanted, mut differ) = (None, Vec::new(), Vec::new());
    for (example, values) in examples() {
        let kept = kept(&render(&values));
        let text = written(&kept, defaults.as_ref());
        let file = folder.join(format!("{example}.yaml"));
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = there.lines().zip(text.lines()).enumerate();
        if let Some((line, (was, is))) = lines.into_iter().find(|(_, (was, is))| was != is) {
            differ.push(format!("{example}, line {}: was {was:?}, is {is:?}", line + 1));
        } else if there != text {
            differ.push(format!("{example}: {} lines, now {}", there.lines().count(), text.lines().count()));
        }
        wanted.push(file);
        defaults.get_or_insert(kept);
    }
    let there = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    differ.extend(there.filter(|file| !wanted.contains(file)).map(|file| format!("{}: no example", file.display())));
    assert_eq!(
        differ,
        Vec::<String>::new(),
        "if that is meant: UPDATE=1 cargo test -p tintype-tests --test charts golden"
    );
}
