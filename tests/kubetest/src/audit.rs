//! Reads the audit log: the API server's own account of who asked for what, independent of whoever asked.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::{Error, Result, error::Doing};

/// One request that was answered. What a request does not have (a list has no name) is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the HTTP method, in lower
    /// case, where there is no resource.
    pub verb: String,
    /// The group of the resource; empty for core.
    pub api_group: String,
    /// The resource in plural: `configmaps`.
    pub resource: String,
    /// `status`, `scale`, `eviction` ...
    pub subresource: String,
    /// The object's name; empty also for a create by `generateName`.
    pub name: String,
    /// The object's namespace.
    pub namespace: String,
    /// Who it was done as: the impersonated user where one was impersonated.
    pub user: String,
    /// The HTTP status. A watch that is still open has the one it was opened with.
    pub code: u16,
    /// What the client calls itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// When the request came in, RFC 3339 with microseconds: compares as text.
    pub received: String,
    /// Whether the request is over; only a watch (or another stream) still open is not.
    pub complete: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    name: String,
    namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

/// Everything in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<AuditEvent>> {
    let text = std::fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    parse(&text)
}

/// One event a request, in the order the requests were first answered. A stream is written twice, when it opens and when
/// it ends: the second line replaces the first. A last line without its end is still being written, and left for later.
fn parse(text: &str) -> Result<Vec<AuditEvent>> {
    let mut events: Vec<AuditEvent> = Vec::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
        let line: Line = serde_json::from_str(line).map_err(|source| Error::Audit { line: number + 1, source })?;
        let id = line.audit_id.clone();
        let event = AuditEvent::from(line);
        if let Some(first) = open.remove(&id) {
            events[first] = event;
            continue;
        }
        if !event.complete {
            open.insert(id, events.len());
        }
        events.push(event);
    }
    Ok(events)
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        let Line {
            audit_id: _,
            stage,
            request_uri,
            verb,
            user,
            impersonated_user,
            user_agent,
            object_ref: ObjectRef { api_group, resource, subresource, name, namespace },
            response_status: ResponseStatus { code },
            request_received_timestamp,
        } = line;
        Self {
            verb,
            api_group,
            resource,
            subresource,
            name,
            namespace,
            user: impersonated_user.unwrap_or(user).username,
            code,
            user_agent,
            uri: request_uri,
            received: request_received_timestamp,
            complete: stage != "ResponseStarted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, stage: &str, verb: &str) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{id}","stage":"{stage}",
            "requestURI":"/api/v1/namespaces/a/configmaps/b","verb":"{verb}","user":{{"username":"alice"}},
            "sourceIPs":["127.0.0.1"],"userAgent":"test","objectRef":{{"resource":"configmaps","namespace":"a",
            "name":"b","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},
            "requestReceivedTimestamp":"2030-01-01T00:00:00.000001Z"}}"#
        )
        .replace('\n', "")
            + "\n"
    }

    #[test]
    fn a_request_is_one_event_with_its_parts() {
        let events = parse(&line("1", "ResponseComplete", "get")).unwrap();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.verb.as_str(), event.resource.as_str(), event.name.as_str()), ("get", "configmaps", "b"));
        assert_eq!((event.user.as_str(), event.code, event.complete), ("alice", 200, true));
        assert_eq!(event.subresource, "");
    }

    #[test]
    fn a_watch_is_one_event_while_open_and_once_ended() {
        let opened = line("1", "ResponseStarted", "watch");
        assert!(!parse(&opened).unwrap()[0].complete);
        let events = parse(&(opened + &line("1", "ResponseComplete", "watch"))).unwrap();
        assert_eq!(events.iter().map(|event| event.complete).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn a_line_still_being_written_is_left_for_later() {
        let whole = line("1", "ResponseComplete", "get");
        assert_eq!(parse(&(whole.clone() + &whole[..40])).unwrap().len(), 1);
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = line("1", "ResponseComplete", "get") + "{}\n";
        assert!(matches!(parse(&text), Err(Error::Audit { line: 2, .. })));
    }
}
