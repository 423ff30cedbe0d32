//! Reads rendered YAML as objects.

use serde::Deserialize as _;
use serde_json::Value;

/// Each object of a rendered chart.
pub(crate) fn objects(rendered: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(rendered)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, at: &str) -> &'a str {
    object.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind/name`, for messages.
pub(crate) fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The objects of a kind.
pub(crate) fn of_kind(rendered: &str, kind: &str) -> Vec<Value> {
    objects(rendered).into_iter().filter(|object| text(object, "/kind") == kind).collect()
}

/// The one object of this kind whose name ends so.
pub(crate) fn one(rendered: &str, kind: &str, ending: &str) -> Value {
    let found: Vec<_> =
        of_kind(rendered, kind).into_iter().filter(|object| text(object, "/metadata/name").ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "{kind} *{ending}");
    found.into_iter().next().unwrap()
}

/// Each Pod, and the pod template of each workload as a Pod of the workload's name.
pub(crate) fn pods(rendered: &str) -> Vec<Value> {
    let of_workloads = ["Deployment", "StatefulSet", "DaemonSet", "Job", "PodTemplate"]
        .iter()
        .flat_map(|kind| of_kind(rendered, kind))
        .map(|workload| {
            let template = workload.pointer("/spec/template").or(workload.get("template"));
            let mut pod = template.cloned().unwrap_or_default();
            pod["apiVersion"] = "v1".into();
            pod["kind"] = "Pod".into();
            pod["metadata"]["name"] = workload["metadata"]["name"].clone();
            pod
        });
    of_workloads.chain(of_kind(rendered, "Pod")).collect()
}

/// Objects as a stream kubectl reads.
pub(crate) fn stream(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}
