//! One object that cannot be read must not end a watch or a list: it is set aside with its metadata, the others go on.
//!
//! As kube's `DeserializeGuard`, which makes a tree of every object and a copy of the tree before it tries to read it: of a job
//! that is told of three times from its creation to its end, that was about a tenth of the operator's work. Here the text is kept
//! until it is known whether it can be read. JSON alone can do that, and JSON is all the API server sends of custom resources.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::PartialObjectMeta;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or the metadata of one that says something this program does not know.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Box<ObjectMeta>>);

impl<'de, K: Resource<DynamicType = ()> + DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(object) = serde_json::from_str(text.get()) {
            return Ok(Self(Ok(object)));
        }
        let object: PartialObjectMeta<K> = serde_json::from_str(text.get()).map_err(Error::custom)?;
        Ok(Self(Err(Box::new(object.metadata))))
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Guarded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unread| unread, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unread| unread, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GenerationJob;
    use kube::api::{ObjectList, WatchEvent};
    use serde_json::json;

    fn job(name: &str, steps: serde_json::Value) -> serde_json::Value {
        json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob", "metadata": { "name": name, "uid": name },
            "spec": { "request": { "model": "m", "prompt": "p", "steps": steps } },
        })
    }

    #[test]
    fn what_cannot_be_read_is_known_by_its_metadata_in_a_list_and_in_a_watch() {
        let (good, bad) = (job("good", json!(20)), job("bad", json!("twenty")));
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [good, bad] });
        let list: ObjectList<Guarded<GenerationJob>> = serde_json::from_str(&list.to_string()).unwrap();
        let read: Vec<_> = list.items.iter().map(|item| (item.0.is_ok(), item.meta().name.as_deref())).collect();
        assert_eq!(read, [(true, Some("good")), (false, Some("bad"))]);

        for (object, readable) in [(good, true), (bad, false)] {
            // The type comes first, as the API server writes it.
            let event = format!(r#"{{"type":"MODIFIED","object":{object}}}"#);
            let event: WatchEvent<Guarded<GenerationJob>> = serde_json::from_str(&event).unwrap();
            let WatchEvent::Modified(job) = event else { panic!("{event:?}") };
            assert_eq!(
                (job.0.is_ok(), job.meta().uid.clone()),
                (readable, object["metadata"]["uid"].as_str().map(str::to_owned))
            );
        }
        assert!(serde_json::from_str::<Guarded<GenerationJob>>("7").is_err(), "that is no object");
    }
}
