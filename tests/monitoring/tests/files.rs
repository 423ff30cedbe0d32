//! The files say what they should: generated ones are as generated, each alert has its page and its two tests, and
//! promtool agrees with all of it.

#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tintype_monitoring::{alerts, dashboards, folder, promtool, root};

/// Written with `UPDATE=1 cargo test -p tintype-monitoring`.
#[test]
fn each_dashboard_is_there_as_grafana_reads_it() {
    let written = folder().join("dashboards");
    let dashboards = dashboards().unwrap();
    for dashboard in &dashboards {
        let path = written.join(format!("{}.json", dashboard.uid));
        // Printed the same however JSON maps are kept in this build.
        let mut json = dashboard.grafana();
        json.sort_all_objects();
        let wanted = format!("{}\n", serde_json::to_string_pretty(&json).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&written).unwrap();
            fs::write(&path, &wanted).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == wanted, "{} is not what dashboards.yaml says; run `make generated`", path.display());
    }
    assert_eq!(stems(&written), dashboards.iter().map(|dashboard| dashboard.uid.clone()).collect());
}

#[test]
fn a_panel_tells_what_it_shows_and_reads_only_what_may_be_chosen() {
    for dashboard in dashboards().unwrap() {
        let titles: BTreeSet<_> = dashboard.panels.iter().map(|panel| &panel.title).collect();
        assert_eq!(titles.len(), dashboard.panels.len(), "{}: two panels have one title", dashboard.uid);
        for panel in &dashboard.panels {
            let name = format!("{}: {}", dashboard.uid, panel.title);
            assert!(panel.description.ends_with('.') && !panel.queries.is_empty(), "{name}");
            for query in &panel.queries {
                assert!(query.expr.contains("namespace=~\"$ns\""), "{name}: every namespace is shown at once");
                let windows = query.expr.matches('[').count();
                let chosen = query.expr.matches("[$i]").count() + query.expr.matches("[$__range]").count();
                assert_eq!(windows, chosen, "{name}: a window is fixed");
                assert!(!query.legend.is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn each_alert_has_a_page_two_tests_and_words() {
    let alerts = alerts().unwrap();
    assert!(alerts.len() >= 25, "{} alerts", alerts.len());
    let tests = fs::read_to_string(folder().join("alerts_test.yaml")).unwrap();
    for alert in &alerts {
        let name = &alert.alert;
        assert!(matches!(alert.labels["severity"].as_str(), "critical" | "warning"), "{name}");
        assert_eq!(alert.annotations["runbook_url"], format!("docs/runbooks/{name}.md"));
        assert!(!alert.annotations["summary"].contains("{{"), "{name}: a summary is the same each time");
        assert!(alert.annotations.contains_key("description"), "{name}");
        for test in ["fires", "is quiet"] {
            assert_eq!(tests.matches(&format!("- name: {name} {test}\n")).count(), 1, "{name} {test}");
        }
        let page = fs::read_to_string(root().join(&alert.annotations["runbook_url"])).unwrap_or_default();
        for part in ["What it means.", "What users notice.", "Where to look.", "What to do."] {
            assert!(page.contains(part), "the page of {name} does not say: {part}");
        }
    }
    let mut pages = stems(&root().join("docs/runbooks"));
    pages.remove("README");
    assert_eq!(pages, alerts.into_iter().map(|alert| alert.alert).collect(), "a page without an alert");
}

#[test]
fn promtool_finds_the_rules_right_and_each_alert_fires_when_it_should() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let output = Command::new(promtool().unwrap()).args(arguments).current_dir(folder()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn stems(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}
