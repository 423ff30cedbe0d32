//! Every place of the OpenAPI document that takes a text: parameters of paths and queries, and each text in a JSON body,
//! with as much around it as it takes to be read.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::matrix::Operation;

/// Stands in a body where a text goes.
const MARK: &str = "\u{e000}here\u{e000}";
/// How far bodies are followed inwards.
const DEPTH_MAX: usize = 6;

/// A place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) operation: Operation,
    pub(super) at: At,
}

/// Where in the request.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// The parameter of the path, with its braces.
    Path(String),
    /// The parameter of the query.
    Query(String),
    /// A body with the mark in it, and the way to the mark.
    Body(Value, String),
}

impl Place {
    /// What it is called where something is wrong with it.
    pub(super) fn name(&self) -> String {
        let at = match &self.at {
            At::Path(name) | At::Query(name) | At::Body(_, name) => name,
        };
        format!("{} [{at}]", self.operation.name())
    }
}

/// All of them.
pub(super) fn places(document: &Value, operations: &[Operation]) -> Vec<Place> {
    let mut found = Vec::new();
    for operation in operations {
        let described = &document["paths"][&operation.path][operation.method.as_str().to_lowercase()];
        let mut add = |at| found.push(Place { operation: operation.clone(), at });
        operation.path.split('/').filter(|part| part.starts_with('{')).for_each(|part| add(At::Path(part.to_owned())));
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                add(At::Query(parameter["name"].as_str().unwrap().to_owned()));
            }
        }
        let schema = &described["requestBody"]["content"]["application/json"]["schema"];
        let walk = Walk { schemas: &document["components"]["schemas"] };
        let mut seen = BTreeSet::new();
        for (body, way) in walk.marked(schema, 0) {
            if seen.insert(body.to_string()) {
                add(At::Body(body, way));
            }
        }
    }
    found
}

/// The body with a text where the mark is.
pub(super) fn filled(body: &Value, text: &str) -> Value {
    match body {
        Value::String(there) if there == MARK => Value::String(text.to_owned()),
        Value::Array(items) => items.iter().map(|item| filled(item, text)).collect(),
        Value::Object(fields) => {
            let named = |name: &String| if name == MARK { text.to_owned() } else { name.clone() };
            Value::Object(fields.iter().map(|(name, field)| (named(name), filled(field, text))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => body.clone(),
    }
}

/// Through the document's schemas.
struct Walk<'a> {
    schemas: &'a Value,
}

impl<'a> Walk<'a> {
    /// What a reference leads to.
    fn of(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        name.map_or(schema, |name| self.of(&self.schemas[name]))
    }

    /// Its alternatives, but null; itself, where it has none.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.of(schema);
        let listed = ["anyOf", "oneOf"].iter().find_map(|of| schema[of].as_array());
        let of_each = |list: &'a Vec<Value>| list.iter().flat_map(|one| self.alternatives(one)).collect();
        let all: Vec<&Value> = listed.map_or_else(|| vec![schema], of_each);
        all.into_iter().filter(|one| one["type"] != "null").collect()
    }

    /// Something that is right there.
    fn example(&self, schema: &'a Value, name: &str) -> Value {
        let Some(schema) = self.alternatives(schema).first().copied() else { return Value::Null };
        if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return value.clone();
        }
        match kind(schema) {
            "string" => match name {
                "model" | "version" => json!("tintype/shapes"),
                "email" => json!("somebody@example.org"),
                "url" => json!("https://example.org/"),
                _ if schema["format"] == "uuid" => json!("00000000-0000-7000-8000-000000000000"),
                _ => json!("a red circle"),
            },
            "integer" | "number" => schema.get("minimum").filter(|least| **least != 0).cloned().unwrap_or(json!(1)),
            "boolean" => json!(false),
            "array" => match schema["minItems"].as_u64() {
                Some(1..) => json!([self.example(&schema["items"], name)]),
                _ => json!([]),
            },
            _ => Value::Object(self.required(schema)),
        }
    }

    fn required(&self, schema: &'a Value) -> Map<String, Value> {
        let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| (name.to_owned(), self.example(&schema["properties"][name], name))).collect()
    }

    /// Bodies with the mark in them, one for each place, and the way there.
    fn marked(&self, schema: &'a Value, depth: usize) -> Vec<(Value, String)> {
        if depth > DEPTH_MAX || schema.is_null() {
            return Vec::new();
        }
        self.alternatives(schema).into_iter().flat_map(|one| self.marked_in(one, depth)).collect()
    }

    fn marked_in(&self, schema: &'a Value, depth: usize) -> Vec<(Value, String)> {
        let inner = |schema: &'a Value| self.marked(schema, depth + 1);
        match kind(schema) {
            "string" | "any" => vec![(json!(MARK), String::new())],
            "array" => {
                inner(&schema["items"]).into_iter().map(|(item, way)| (json!([item]), format!("[]{way}"))).collect()
            }
            "object" => {
                let around = self.required(schema);
                let with = |name: &str, value: Value| {
                    let mut body = around.clone();
                    body.insert(name.to_owned(), value);
                    Value::Object(body)
                };
                let properties = schema["properties"].as_object().into_iter().flatten();
                let mut all: Vec<_> = properties
                    .flat_map(|(name, field)| {
                        inner(field).into_iter().map(move |(value, way)| (name.clone(), value, way))
                    })
                    .map(|(name, value, way)| (with(&name, value), format!(".{name}{way}")))
                    .collect();
                all.push((with(MARK, json!(1)), ".(a name)".to_owned()));
                all
            }
            _ => Vec::new(),
        }
    }
}

/// Its type, of several the first that is not null.
fn kind(schema: &Value) -> &str {
    let listed = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str).find(|one| *one != "null");
    let one = schema["type"].as_str().or(listed);
    one.unwrap_or(if schema["properties"].is_object() { "object" } else { "any" })
}
