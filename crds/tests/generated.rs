//! The generated files say what the types say. `UPDATE=1` writes them anew.

use std::path::Path;

#[test]
fn the_yaml_is_what_the_types_print() {
    for definition in tintype_crds::definitions_json() {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
        let text = format!(
            "# Printed from the types in crds/src; `UPDATE=1 cargo test -p tintype-crds` writes it anew.\n{}",
            serde_yaml_ng::to_string(&definition).unwrap()
        );
        check(&format!("yaml/{plural}.yaml"), &text);
    }
}

#[test]
fn every_definition_is_printed_by_the_program() {
    let files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files.len(), tintype_crds::YAML.len());
    for (name, text) in tintype_crds::YAML {
        assert!(files.iter().any(|file| file == name), "{name} is not on disk");
        assert!(text.contains("kind: CustomResourceDefinition"));
    }
}

#[test]
fn the_reasons_are_documented() {
    check("REASONS.md", &tintype_crds::reasons::markdown());
}

fn check(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, wanted).expect("the source folder can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} is not what the types print: run UPDATE=1 cargo test -p tintype-crds");
}
