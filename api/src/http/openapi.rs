//! The OpenAPI 3.1 document: printed from the table of routes and the types on the wire, never written by hand.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use tintype_types::{ErrorBody, ImageFormat};

use super::problem;
use super::routes::{Access, Answer, Route, Sent, table};

/// Makes the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`, to be put in the table of routes.
pub(crate) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Serves the document.
pub(crate) async fn serve() -> Json<Value> {
    Json(document(&table()))
}

/// The document of these routes.
/// Printed the same however JSON maps are kept in this build.
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut document = unsorted(routes);
    document.sort_all_objects();
    document
}

fn unsorted(routes: &[Route]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let error = of::<ErrorBody>(&mut generator);
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let operation = operation(route, &mut generator, &error);
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tintype",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Image generation on GPUs of your own. OpenAI's clients work with the base URL /v1."
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "apiKey": { "type": "http", "scheme": "bearer", "description": "An API key: tt_..." },
                "session": { "type": "apiKey", "in": "cookie", "name": "tintype_session", "description": "A browser that is signed in" },
                "adminToken": { "type": "http", "scheme": "bearer", "description": "The administrator's token" }
            }
        }
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, error: &Schema) -> Value {
    let kind = if problem::is_openai(route.path) { "application/json" } else { problem::MEDIA_TYPE };
    let error = if problem::is_openai(route.path) { error.clone() } else { of::<problem::Problem>(generator) };
    let refusal = json!({ "description": "Refused; `code` says why", "content": content(kind, &error) });
    let mut responses = Map::new();
    for status in std::iter::once(route.status).chain(route.also) {
        responses.insert(status.to_string(), answer(&route.answer, generator));
    }
    responses.insert("default".to_owned(), refusal);
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route),
        "responses": responses,
        "security": match route.access {
            Access::Anybody => json!([]),
            Access::Key => json!([{ "apiKey": [] }, { "session": [] }]),
            Access::Session => json!([{ "session": [] }]),
            Access::Admin => json!([{ "adminToken": [] }]),
        }
    });
    if let Some(body) = route.body {
        let schema = body(generator);
        let kinds: &[&str] = match route.sent {
            Sent::Json => &["application/json"],
            Sent::Form => &["multipart/form-data"],
            Sent::Picture => &["image/png", "image/jpeg", "image/webp"],
        };
        let content: Map<String, Value> =
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": schema }))).collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn answer(answer: &Answer, generator: &mut SchemaGenerator) -> Value {
    match answer {
        Answer::Json(schema) => {
            let schema = schema(generator);
            json!({ "description": "Done", "content": content("application/json", &schema) })
        }
        Answer::Events(schema) => {
            let schema = schema(generator);
            let what = "Server-sent events; the data of each is this object, whole. While a stream is open, events of a \
                        running job carry `previews` about twice a second: `data:image/<format>;base64,<data>` shows one";
            json!({ "description": what, "content": content("text/event-stream", &schema) })
        }
        Answer::Redirect => {
            json!({ "description": "Sent on to a signed URL", "headers": { "Location": { "schema": { "type": "string" } } } })
        }
        Answer::Empty => json!({ "description": "Done" }),
        Answer::Page => {
            json!({ "description": "Done", "content": { "text/html": { "schema": { "type": "string" } } } })
        }
        Answer::File => {
            let schema = json!({ "type": "string", "format": "binary" });
            let content: Map<_, _> = ImageFormat::ALL
                .map(|format| (format.media_type().to_owned(), json!({ "schema": schema })))
                .into_iter()
                .collect();
            json!({ "description": "The file", "content": content })
        }
        Answer::Archive => {
            let schema = json!({ "type": "string", "format": "binary" });
            json!({ "description": "An archive", "content": { "application/x-tar": { "schema": schema } } })
        }
        Answer::Text => {
            json!({ "description": "Done", "content": { "text/plain": { "schema": { "type": "string" } } } })
        }
    }
}

fn content(kind: &str, schema: &Schema) -> Value {
    json!({ kind: { "schema": schema } })
}

fn parameters(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query =
        route.query.iter().map(|(name, kind)| json!({ "name": name, "in": "query", "schema": { "type": kind } }));
    let in_header =
        route.headers.iter().map(|name| json!({ "name": name, "in": "header", "schema": { "type": "string" } }));
    in_path.chain(in_query).chain(in_header).collect()
}

/// `post_v1_images_generations`: stable, unique, and what generators name functions after.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    std::iter::once(route.method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

/// Every reference in the document; for the test that none leads nowhere.
#[cfg(test)]
fn references(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.insert(target.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_one_name() {
        let document = document(&table());
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 5, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        let routes = table();
        let names: BTreeSet<_> = routes.iter().map(operation_id).collect();
        assert_eq!(names.len(), routes.len());
    }

    /// The web app's client is generated from this file before the program that prints it is built.
    #[test]
    fn the_web_apps_copy_is_current() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/openapi.json");
        let text = serde_json::to_string_pretty(&document(&table())).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(kept == text, "web/openapi.json is stale; `make generated` writes it anew");
    }

    #[test]
    fn a_request_is_described_with_its_limits() {
        let document = document(&table());
        let steps = document.pointer("/components/schemas/ImagesBody/properties/steps").unwrap();
        assert_eq!((&steps["minimum"], &steps["maximum"]), (&json!(1), &json!(150)));
        let path = document.pointer("/paths/~1api~1v1~1jobs~1{id}/get/parameters/0").unwrap();
        assert_eq!(path["name"], "id");
    }
}
