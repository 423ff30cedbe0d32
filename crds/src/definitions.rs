//! From the Rust types to the definitions an API server accepts: what the derive prints, tidied, with the rules added.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::rules::{ONCE, RULES};
use crate::{DiffusionModel, GenerationJob, GenerationQueue, GpuPool, GpuWorker};

/// The longest reason and message a condition may have; what `metav1.Condition` itself sets.
const REASON_CHARS_MAX: u64 = 1_024;
const MESSAGE_CHARS_MAX: u64 = 32_768;
/// The longest text anywhere that does not say so itself; it keeps the cost of a rule bounded.
const TEXT_CHARS_MAX: u64 = 253;

/// The definitions as they are applied. Never use a kind's own `crd()`: it lacks the rules.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    definitions_json()
        .into_iter()
        .map(|definition| serde_json::from_value(definition).expect("a definition was made from one"))
        .collect()
}

/// The definitions as JSON, ordered by name.
pub fn definitions_json() -> Vec<Value> {
    [DiffusionModel::crd(), GenerationJob::crd(), GenerationQueue::crd(), GpuPool::crd(), GpuWorker::crd()]
        .into_iter()
        .map(|definition| {
            let plural = definition.spec.names.plural.clone();
            let mut value = serde_json::to_value(definition).expect("a definition is plain data");
            finish(&mut value, &plural);
            // Printed the same however JSON maps are kept in this build.
            value.sort_all_objects();
            value
        })
        .collect()
}

fn finish(definition: &mut Value, plural: &str) {
    let schema = definition
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("each kind has one version with a schema");
    tidy(schema);
    if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
        // Applied when an object is read, so a job nobody has written to is seen as `Queued` without a write.
        status.insert("default".to_owned(), json!({}));
        for_each_schema(status, &mut |node| {
            node.remove("nullable");
        });
    }
    if let Some(conditions) = schema.pointer_mut("/properties/status/properties/conditions/items/properties") {
        bound_conditions(conditions);
    }
    for rule in RULES.iter().filter(|rule| rule.plural == plural) {
        let place = schema.pointer_mut(rule.at).expect("a rule names a place in its schema");
        let rules = &mut place["x-kubernetes-validations"];
        if rules.is_null() {
            *rules = json!([]);
        }
        let all = rules.as_array_mut().expect("it was made an array above");
        let mut said = json!({ "rule": rule.cel, "message": rule.message });
        if !rule.field.is_empty() {
            said["fieldPath"] = json!(rule.field);
        }
        if rule.cel.starts_with(ONCE) {
            said["optionalOldSelf"] = json!(true);
        }
        all.push(said);
    }
}

/// Makes a schema say what an API server reads, and bounds what it leaves open.
fn tidy(schema: &mut Value) {
    let root = schema.as_object_mut().expect("a schema is an object");
    root.remove("title");
    for_each_schema(root, &mut |node| {
        bound_integer(node);
        bound_text(node);
        whole_numbers(node);
    });
}

/// Widths of Rust integers are not formats an API server knows; what they mean is said in bounds instead, so that
/// nothing is stored that could not be read back.
fn bound_integer(node: &mut Map<String, Value>) {
    if node.get("type") != Some(&json!("integer")) {
        return;
    }
    let (format, max) = match node.get("format").and_then(Value::as_str) {
        Some("uint8") => ("int32", Some(u64::from(u8::MAX))),
        Some("uint16") => ("int32", Some(u64::from(u16::MAX))),
        Some("uint32") => ("int64", Some(u64::from(u32::MAX))),
        Some("uint64" | "uint") => ("int64", Some(tintype_types::limits::SEED_MAX)),
        Some("int32") => ("int32", None),
        Some(_) | None => ("int64", None),
    };
    node.insert("format".to_owned(), json!(format));
    if let Some(max) = max {
        node.entry("minimum").or_insert_with(|| json!(0));
        node.entry("maximum").or_insert_with(|| json!(max));
    }
}

fn bound_text(node: &mut Map<String, Value>) {
    let closed = ["maxLength", "enum", "format"].iter().any(|key| node.contains_key(*key));
    if node.get("type") == Some(&json!("string")) && !closed {
        node.insert("maxLength".to_owned(), json!(TEXT_CHARS_MAX));
    }
}

/// `JSONSchemaProps` keeps bounds as floats; a bound of 64 is printed as 64.
fn whole_numbers(node: &mut Map<String, Value>) {
    for key in ["minimum", "maximum", "multipleOf", "default"] {
        let Some(number) = node.get(key).and_then(Value::as_f64) else { continue };
        if number.fract() == 0.0 {
            node.insert(key.to_owned(), json!(number as i64));
        }
    }
}

/// What `metav1.Condition` asks of its fields.
fn bound_conditions(fields: &mut Value) {
    fields["type"]["maxLength"] = json!(316);
    fields["status"]["enum"] = json!(["True", "False", "Unknown"]);
    if let Some(status) = fields["status"].as_object_mut() {
        status.remove("maxLength");
    }
    fields["reason"]["maxLength"] = json!(REASON_CHARS_MAX);
    fields["reason"]["minLength"] = json!(1);
    fields["reason"]["pattern"] = json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$");
    fields["message"]["maxLength"] = json!(MESSAGE_CHARS_MAX);
}

/// Calls `visit` on a schema and on every schema inside it.
fn for_each_schema(node: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    visit(node);
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        for child in properties.values_mut().filter_map(Value::as_object_mut) {
            for_each_schema(child, visit);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key).and_then(Value::as_object_mut) {
            for_each_schema(child, visit);
        }
    }
}
