//! The sub-chart carries the kinds as the types print them, kept on uninstall. `UPDATE=1` writes it anew.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Once;

use crate::helm::{crds_chart, helm, render, root};
use crate::manifest::{name, of_kind, text};

/// Stands above each file.
const HEAD: &str = "# Printed from crds/yaml; `UPDATE=1 cargo test -p tintype-tests --test charts` writes it anew.\n";
const KEEP: &str = "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n";

#[test]
fn the_sub_chart_has_the_kinds_as_printed() {
    update();
    let wanted = files(&root().join("crds/yaml"), as_template);
    assert!(!wanted.is_empty());
    let found = files(&crds_chart().join("templates"), str::to_owned);
    let stale = "run UPDATE=1 cargo test -p tintype-tests --test charts";
    let names = |files: &BTreeMap<OsString, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted), "the sub-chart's files against crds/yaml: {stale}");
    for (file, text) in wanted {
        assert!(found[&file] == text, "{} is not what crds/yaml says: {stale}", file.display());
    }
}

/// Writes the sub-chart's files if that is asked for; once, before anything renders them.
fn update() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("UPDATE").is_none() {
            return;
        }
        let templates = crds_chart().join("templates");
        let wanted = files(&root().join("crds/yaml"), as_template);
        for old in files(&templates, str::to_owned).into_keys().filter(|file| !wanted.contains_key(file)) {
            fs::remove_file(templates.join(old)).unwrap();
        }
        for (file, text) in wanted {
            fs::write(templates.join(file), text).unwrap();
        }
    });
}

fn files(folder: &Path, read: impl Fn(&str) -> String) -> BTreeMap<OsString, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name(), read(&fs::read_to_string(entry.path()).unwrap()))).collect()
}

fn as_template(printed: &str) -> String {
    assert!(!printed.contains("{{"), "helm would read this as a template: escape it in the copy");
    let (_, body) = printed.split_once('\n').expect("the first line says where the file comes from");
    assert_eq!(body.matches("\nmetadata:\n").count(), 1);
    format!("{HEAD}{}", body.replacen("metadata:\n", KEEP, 1))
}

/// What is rendered, by the chart and by the sub-chart alone, is what the types print.
#[test]
fn both_charts_render_the_kinds_of_the_types() {
    update();
    let path = crds_chart().display().to_string();
    let alone = helm(&["template", "crds", &path]);
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    for rendered in [String::from_utf8(alone.stdout).unwrap(), render(&[])] {
        let mut found = of_kind(&rendered, "CustomResourceDefinition");
        found.sort_by_key(name);
        for definition in &mut found {
            assert_eq!(
                text(definition, "/metadata/annotations/helm.sh~1resource-policy"),
                "keep",
                "{}",
                name(definition)
            );
            definition["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        let mut wanted = tintype_crds::definitions_json();
        wanted.sort_by_key(name);
        assert!(found == wanted, "a chart's kinds are not those crds/src defines");
    }
}

#[test]
fn the_kinds_can_be_left_to_somebody_else() {
    let rendered = render(&["--set".to_owned(), "crds.enabled=false".to_owned()]);
    assert_eq!(of_kind(&rendered, "CustomResourceDefinition").len(), 0);
}
