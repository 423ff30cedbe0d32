//! What roles allow beside what an account did, each as `verb resource` or `verb resource/subresource`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{AuditEvent, ControlPlane, Result};

/// What the rules of these objects allow, whoever they are for.
pub fn granted(objects: &[Value]) -> BTreeSet<String> {
    let words = |rule: &Value, of: &str| -> Vec<String> {
        rule[of].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rules = objects.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten());
    let each = |rule: &Value| {
        let (verbs, resources) = (words(rule, "verbs"), words(rule, "resources"));
        let pairs = verbs.iter().flat_map(|verb| resources.iter().map(move |resource| format!("{verb} {resource}")));
        pairs.collect::<Vec<_>>()
    };
    rules.flat_map(each).collect()
}

/// What an account did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// What it asked of resources, granted or not.
    pub asked: BTreeSet<String>,
    /// What it was refused for want of rights.
    pub refused: Vec<AuditEvent>,
}

impl ControlPlane {
    /// What a user did until now, by the audit log.
    ///
    /// # Errors
    /// The cluster is not ours or its log cannot be read.
    pub fn done_by(&self, user: &str) -> Result<Done> {
        let events: Vec<_> = self.audit_log()?.into_iter().filter(|event| event.user == user).collect();
        let name = |event: &AuditEvent| {
            let resource = format!("{}/{}", event.resource, event.subresource);
            format!("{} {}", event.verb, resource.trim_end_matches('/'))
        };
        let asked = events.iter().filter(|event| !event.resource.is_empty()).map(name).collect();
        Ok(Done { asked, refused: events.into_iter().filter(|event| event.code == 403).collect() })
    }
}
