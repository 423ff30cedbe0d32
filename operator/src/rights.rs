//! Every right this program needs in a cluster, and why. The chart grants these and no others, and a test compares.

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace (or in the one that is watched), and for kinds without one.
    Watched,
    /// In the namespace this program runs in.
    Own,
}

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where.
    pub scope: Scope,
    /// The API group; empty is the core group.
    pub group: &'static str,
    /// The resources.
    pub resources: &'static [&'static str],
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

/// All of them.
pub const RIGHTS: &[Right] = &[
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["generationjobs"],
        verbs: &["get", "list", "watch", "delete"],
        why: "to see jobs, to read one again after a conflict, and to delete ended ones after their time",
    },
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["generationjobs/status"],
        verbs: &["patch"],
        why: "to write what was decided",
    },
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["diffusionmodels", "generationqueues", "gpupools"],
        verbs: &["list", "watch"],
        why: "to decide by them",
    },
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["diffusionmodels", "gpupools"],
        verbs: &["create"],
        why: "to make the objects a release begins with, once",
    },
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["gpupools/status", "generationqueues/status", "diffusionmodels/status"],
        verbs: &["patch"],
        why: "to count the workers of each pool and the jobs of each queue, and to say what is known of a model's source",
    },
    Right {
        scope: Scope::Watched,
        group: "tintype.dev",
        resources: &["gpupools/scale"],
        verbs: &["patch"],
        why: "to give a pool that says so (spec.scaling) as many workers as there is work for",
    },
    Right {
        scope: Scope::Watched,
        group: "",
        resources: &["nodes"],
        verbs: &["list", "watch"],
        why: "to see which nodes are about to go",
    },
    Right {
        scope: Scope::Own,
        group: "tintype.dev",
        resources: &["gpuworkers"],
        verbs: &["list", "create", "patch", "delete"],
        why: "to report workers, and to remove the reports of those that are gone",
    },
    Right {
        scope: Scope::Own,
        group: "tintype.dev",
        resources: &["gpuworkers/status"],
        verbs: &["patch"],
        why: "to report what workers say",
    },
    Right {
        scope: Scope::Own,
        group: "coordination.k8s.io",
        resources: &["leases"],
        verbs: &["create", "get", "update"],
        why: "to be elected leader",
    },
    Right {
        scope: Scope::Own,
        group: "",
        resources: &["configmaps"],
        verbs: &["create", "get", "patch"],
        why: "to keep what was learned of the cost of work in one, to tell workers of models to fetch in another, and to read \
              in a third which objects a release begins with",
    },
    Right {
        scope: Scope::Own,
        group: "",
        resources: &["pods"],
        verbs: &["list", "patch", "delete"],
        why: "to label its own pod while it leads, so that a Service finds it, to say which worker is to go first, and to end \
              workers whose node is about to go",
    },
    Right {
        scope: Scope::Own,
        group: "",
        resources: &["podtemplates"],
        verbs: &["get"],
        why: "to make workers of what a pool names",
    },
    Right {
        scope: Scope::Own,
        group: "apps",
        resources: &["deployments"],
        verbs: &["list", "create", "patch", "delete"],
        why: "to keep the workers of pools that name a template",
    },
];
