//! Whether a node is about to go, as those say who know: a taint, or a condition.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use tintype_crds::labels::POOL;
use tintype_types::{Timestamp, WorkerId};

use crate::convert::from_time;

/// Who gave notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Somebody said that the node does not run any more (non-graceful node shutdown).
    OutOfService,
    /// GKE: the machine is preempted or maintained.
    Gke,
    /// The node termination handler of AWS: a spot interruption, maintenance, or the end of an instance.
    Aws,
    /// AKS: the node is drained, for a spot eviction as a rule.
    Aks,
    /// An autoscaler takes the node away.
    Autoscaler,
    /// A taint or condition that a setting names.
    Named,
}

/// Taints, by their keys. A recommendation to rebalance is no notice: the node may stay for days.
const TAINTS: [(&str, Notice); 8] = [
    ("node.kubernetes.io/out-of-service", Notice::OutOfService),
    ("cloud.google.com/impending-node-termination", Notice::Gke),
    ("aws-node-termination-handler/spot-itn", Notice::Aws),
    ("aws-node-termination-handler/scheduled-maintenance", Notice::Aws),
    ("aws-node-termination-handler/asg-lifecycle-termination", Notice::Aws),
    ("remediator.kubernetes.azure.com/unschedulable", Notice::Aks),
    ("karpenter.sh/disrupted", Notice::Autoscaler),
    ("ToBeDeletedByClusterAutoscaler", Notice::Autoscaler),
];

impl Notice {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::OutOfService, Self::Gke, Self::Aws, Self::Aks, Self::Autoscaler, Self::Named];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfService => "out_of_service",
            Self::Gke => "gke",
            Self::Aws => "aws",
            Self::Aks => "aks",
            Self::Autoscaler => "autoscaler",
            Self::Named => "named",
        }
    }

    /// The notice a node carries; `named` are keys of taints and types of conditions that count as well.
    pub fn of(node: &Node, named: &[String]) -> Option<Self> {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let known = taints.clone().find_map(|taint| TAINTS.iter().find(|(key, _)| *key == taint.key));
        if let Some((_, notice)) = known {
            return Some(*notice);
        }
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let holds = conditions.filter(|condition| condition.status == "True").map(|condition| &condition.type_);
        let mut said = taints.map(|taint| &taint.key).chain(holds);
        said.any(|word| named.contains(word)).then_some(Self::Named)
    }
}

/// Nodes that are about to go, and since when that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed(BTreeMap<String, (Notice, Timestamp)>);

impl Noticed {
    /// Takes in how a node is now; whether that is news.
    pub fn take(&mut self, node: &Node, named: &[String], now: Timestamp) -> bool {
        let name = node.name_any();
        match (Notice::of(node, named), self.0.get(&name)) {
            (Some(_), Some(_)) | (None, None) => false,
            (Some(notice), None) => self.0.insert(name, (notice, now)).is_none(),
            (None, Some(_)) => self.0.remove(&name).is_some(),
        }
    }

    /// Only these nodes are there; whether that is news.
    pub fn keep(&mut self, there: &BTreeSet<String>) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| there.contains(name));
        self.0.len() != before
    }

    /// Name, notice, and since when.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Notice, Timestamp)> {
        self.0.iter().map(|(name, (notice, since))| (name.as_str(), *notice, *since))
    }
}

/// Whether this pod is a worker that is to go. Whoever came after the notice knew of it, and is left alone: else a pod that
/// tolerates everything would be ended and made again for ever.
pub(super) fn is_to_go(pod: &Pod, workers: &BTreeSet<WorkerId>, since: Timestamp) -> bool {
    let is_worker = pod.labels().contains_key(POOL) || workers.contains(&WorkerId(pod.name_any()));
    let made = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp(0), from_time);
    is_worker && pod.metadata.deletion_timestamp.is_none() && made <= since
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, taints: &[&str], conditions: &[(&str, &str)]) -> Node {
        let taints: Vec<Value> = taints.iter().map(|key| json!({ "key": key, "effect": "NoSchedule" })).collect();
        let conditions: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({ "type": kind, "status": status })).collect();
        let node = json!({
            "metadata": { "name": name }, "spec": { "taints": taints }, "status": { "conditions": conditions },
        });
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn each_giver_of_notice_is_known_and_other_taints_are_none() {
        for (key, notice) in TAINTS {
            assert_eq!(Notice::of(&node("n", &["dedicated", key], &[]), &[]), Some(notice), "{key}");
        }
        let others = [
            "nvidia.com/gpu",
            "node.kubernetes.io/unschedulable",
            "aws-node-termination-handler/rebalance-recommendation",
        ];
        assert_eq!(Notice::of(&node("n", &others, &[("Ready", "True"), ("DiskPressure", "True")]), &[]), None);
        assert_eq!(Notice::of(&Node::default(), &[]), None);
    }

    #[test]
    fn a_setting_names_taints_and_conditions_and_a_condition_has_to_hold() {
        let named = ["example.com/going".to_owned(), "SpotEnding".to_owned()];
        let of = |taints: &[&str], conditions: &[(&str, &str)]| Notice::of(&node("n", taints, conditions), &named);
        assert_eq!(of(&["example.com/going"], &[]), Some(Notice::Named));
        assert_eq!(of(&[], &[("SpotEnding", "True")]), Some(Notice::Named));
        assert_eq!(of(&[], &[("SpotEnding", "False"), ("SpotEnding", "Unknown")]), None);
    }

    #[test]
    fn a_notice_counts_from_when_it_came_until_it_is_withdrawn_or_the_node_is_gone() {
        let (going, well) = (node("a", &["karpenter.sh/disrupted"], &[]), node("a", &[], &[]));
        let mut noticed = Noticed::default();
        assert!(!noticed.take(&well, &[], Timestamp(1)));
        assert!(noticed.take(&going, &[], Timestamp(2)));
        assert!(!noticed.take(&going, &[], Timestamp(3)), "that is known");
        assert_eq!(noticed.iter().collect::<Vec<_>>(), [("a", Notice::Autoscaler, Timestamp(2))]);
        assert!(noticed.take(&well, &[], Timestamp(4)));
        assert!(noticed.take(&going, &[], Timestamp(5)));
        assert!(!noticed.keep(&BTreeSet::from(["a".to_owned()])));
        assert!(noticed.keep(&BTreeSet::new()));
        assert_eq!(noticed, Noticed::default());
    }

    #[test]
    fn workers_go_and_nobody_else_and_who_came_later_stays() {
        let pod = |name: &str, labels: Value, deleted: Option<&str>| -> Pod {
            let metadata = json!({
                "name": name, "labels": labels, "creationTimestamp": "1970-01-01T00:00:10Z", "deletionTimestamp": deleted,
            });
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let workers = BTreeSet::from(["w-1".into()]);
        let goes = |pod: &Pod| is_to_go(pod, &workers, Timestamp(10_500));
        assert!(goes(&pod("w-1", json!({}), None)), "it has claimed");
        assert!(goes(&pod("w-2", json!({ POOL: "l40s" }), None)), "it is one of a pool's");
        assert!(!goes(&pod("operator-0", json!({}), None)));
        assert!(!goes(&pod("w-1", json!({}), Some("1970-01-01T00:00:11Z"))), "it goes already");
        assert!(!is_to_go(&pod("w-1", json!({}), None), &workers, Timestamp(9_999)), "it came after the notice");
    }
}
