//! `values.yaml`, `values.schema.json` and the table in the README say the same. `UPDATE=1` writes descriptions and table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::helm::chart;

const BEGIN: &str = "<!-- values: written from values.yaml; UPDATE=1 cargo test -p tintype-tests --test charts -->\n";
const END: &str = "<!-- end of values -->\n";
/// What Helm itself adds to the values.
const OF_HELM: [&str; 2] = ["global", "tintype-crds"];

/// A documented value, in the order of the file.
struct Documented {
    path: Vec<String>,
    comment: String,
}

#[test]
fn every_value_is_documented_and_in_the_schema_and_the_other_way_round() {
    let path = chart().join("values.schema.json");
    let written = fs::read_to_string(&path).unwrap();
    let mut schema: Value = serde_json::from_str(&written).unwrap();
    let documented = documented();
    for value in &documented {
        let property = property(&mut schema, &value.path);
        property["description"] = value.comment.as_str().into();
    }
    let wanted = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    check(&path, &written, &wanted);

    let mut comments: BTreeMap<String, String> =
        documented.iter().map(|value| (value.path.join("."), value.comment.clone())).collect();
    compare(&mut Vec::new(), &values(), &schema, &mut comments);
    assert!(comments.is_empty(), "documented, and no value: {:?}", comments.keys());
}

#[test]
fn the_readme_has_a_line_for_each_value() {
    let path = chart().join("README.md");
    let written = fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(BEGIN).expect("README.md says where the table begins");
    let (_, after) = rest.split_once(END).expect("README.md says where the table ends");
    check(&path, &written, &format!("{before}{BEGIN}{}{END}{after}", table()));
}

/// Walks values and schema side by side down to what is documented.
fn compare(path: &mut Vec<String>, values: &Value, schema: &Value, comments: &mut BTreeMap<String, String>) {
    if comments.remove(&path.join(".")).is_some() {
        return;
    }
    let here = path.join(".");
    let values = values.as_object().unwrap_or_else(|| panic!("values.yaml: `{here}` has no `# --` comment"));
    assert_eq!(schema["additionalProperties"], false, "the schema lets anything pass below `{here}`");
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("the schema does not know `{here}`"));
    for key in properties.keys().filter(|key| !(path.is_empty() && OF_HELM.contains(&key.as_str()))) {
        assert!(values.contains_key(key), "the schema has `{here}.{key}`, and values.yaml does not");
    }
    for (key, value) in values {
        let property = properties.get(key).unwrap_or_else(|| panic!("the schema does not know `{here}.{key}`"));
        path.push(key.clone());
        compare(path, value, property, comments);
        path.pop();
    }
}

fn property<'a>(schema: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(schema, |schema, key| {
        let pointer = format!("/properties/{key}");
        schema.pointer_mut(&pointer).unwrap_or_else(|| panic!("the schema does not know `{}`", path.join(".")))
    })
}

fn table() -> String {
    let values = values();
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    for Documented { path, comment } in documented() {
        let default = path.iter().fold(&values, |value, key| &value[key]);
        let comment = comment.replace('|', "\\|");
        writeln!(table, "| `{}` | `{default}` | {comment} |", path.join(".")).unwrap();
    }
    table
}

fn values() -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

/// A comment `# -- ...` documents the key on the line below it.
fn documented() -> Vec<Documented> {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(said) = line.trim().strip_prefix("# -- ") {
            comment = Some(said.to_owned());
        } else if let Some((key, _)) = line.trim().split_once(':').filter(|(key, _)| is_key(key)) {
            above.retain(|(outer, _)| *outer < indent);
            above.push((indent, key.to_owned()));
            if let Some(comment) = comment.take() {
                found.push(Documented { path: above.iter().map(|(_, key)| key.clone()).collect(), comment });
            }
        }
    }
    assert!(found.len() > 50, "the comments of values.yaml were not understood");
    found
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn check(path: &std::path::Path, found: &str, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, wanted).unwrap();
        return;
    }
    assert!(
        found == wanted,
        "{} is not what values.yaml says: run UPDATE=1 cargo test -p tintype-tests --test charts",
        path.display()
    );
}
