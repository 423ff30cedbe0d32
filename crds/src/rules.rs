//! The rules the API server itself keeps, in CEL. They hold against every writer, a leader that was paused and woke up
//! included.
//!
//! A rule that compares with `oldSelf` stands at the root of the schema. Written on `status` it would be skipped when
//! the whole field goes: `PATCH {"status": null}` would then lift every fence (tried on 1.36).
//!
//! An API server makes a list of all properties of an object for each field of it that a rule reads, be it by `has`: at 16 of a
//! status, that was an eighth of all it did for a job. So a rule reads each field once, with `?` and what stands for an absent one;
//! and what is said of a job's spec, which never changes, is looked at when it is made and not with each status: such a rule begins
//! with [`ONCE`].

/// Where a rule stands and what it says.
pub(crate) struct Rule {
    /// The plural of the kind.
    pub(crate) plural: &'static str,
    /// JSON pointer into the schema of the version.
    pub(crate) at: &'static str,
    /// The field an error names, as a JSON path from there; empty is the place itself.
    pub(crate) field: &'static str,
    /// CEL.
    pub(crate) cel: &'static str,
    /// For people: what happened and what to do next.
    pub(crate) message: &'static str,
}

/// How a rule begins that is for new objects alone.
pub(crate) const ONCE: &str = "oldSelf.hasValue() ||";

const ROOT: &str = "";
const STATUS: &str = "/properties/status";
const SPEC: &str = "/properties/spec";
const REQUEST: &str = "/properties/spec/properties/request";

/// Every rule, in the order it is printed.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".spec",
        cel: "self.spec == oldSelf.spec",
        message: "the spec of a job cannot be changed: make another job and delete this one",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status",
        cel: "!has(oldSelf.status) || has(self.status)",
        message: "the status of a job cannot be removed",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status.attempt",
        cel: "self.?status.?attempt.orValue(0) >= oldSelf.?status.?attempt.orValue(0)",
        message: "status.attempt only grows",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status.leaderEpoch",
        cel: "self.?status.?leaderEpoch.orValue(0) >= oldSelf.?status.?leaderEpoch.orValue(0)",
        message: "status.leaderEpoch only grows: a newer leader has written this job",
    },
    Rule {
        plural: "generationjobs",
        at: STATUS,
        field: ".assignment",
        cel: "self.?assignment.optMap(given, given.leaderEpoch <= self.?leaderEpoch.orValue(-1) && \
               given.attempt == self.?attempt.orValue(0)).orValue(true)",
        message: "status.assignment is of the current attempt and of no later leader than status.leaderEpoch",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status.state",
        cel: "!(oldSelf.?status.?state.orValue('') in ['Complete', 'Failed']) || \
               self.?status.?state.orValue('') == oldSelf.status.state",
        message: "a job that is Complete or Failed stays so",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status.outputs",
        cel: "oldSelf.?status.?state.orValue('') != 'Complete' || !has(oldSelf.status.outputs) || \
               has(self.status) && has(self.status.outputs) && self.status.outputs == oldSelf.status.outputs",
        message: "the outputs of a Complete job cannot be changed",
    },
    Rule {
        plural: "generationjobs",
        at: ROOT,
        field: ".status.failure",
        cel: "oldSelf.?status.?state.orValue('') != 'Failed' || !has(oldSelf.status.failure) || \
               has(self.status) && has(self.status.failure) && self.status.failure == oldSelf.status.failure",
        message: "the failure of a Failed job cannot be changed",
    },
    Rule {
        plural: "generationjobs",
        at: REQUEST,
        field: ".prompt",
        cel: r"oldSelf.hasValue() || self.prompt.matches('\\S')",
        message: "the prompt is empty; say what the picture should show",
    },
    Rule {
        plural: "generationjobs",
        at: REQUEST,
        field: ".levels",
        cel: "oldSelf.hasValue() || !has(self.levels) || !has(self.sampler) || self.levels in ['own', 'trailing'] || \
               !(self.sampler in ['ddim', 'ddpm', 'pndm', 'lcm', 'tcd'])",
        message: "this sampler takes the levels own and trailing alone",
    },
    Rule {
        plural: "generationjobs",
        at: SPEC,
        field: ".request",
        // A key is inputs/ACCOUNT/NAME, and the API's jobs wait in the queue of their account.
        cel: "oldSelf.hasValue() || (!has(self.request.init) || self.request.init.image.startsWith('inputs/' + self.queue + '/') && \
               (!has(self.request.init.mask) || self.request.init.mask.startsWith('inputs/' + self.queue + '/'))) && \
               (!has(self.request.controls) || \
               self.request.controls.all(control, control.image.startsWith('inputs/' + self.queue + '/')))",
        message: "a job reads the pictures of its own queue alone: inputs/QUEUE/...; upload them through the API and let it \
                  make the job, or name that queue",
    },
    Rule {
        plural: "diffusionmodels",
        at: "/properties/spec/properties/defaults",
        field: "",
        cel: "self.width % 64 == 0 && self.height % 64 == 0",
        message: "the default width and height must be multiples of 64",
    },
    Rule {
        plural: "diffusionmodels",
        at: SPEC,
        field: ".fetch",
        cel: "!has(self.fetch) || (has(self.fetch.hub) ? !has(self.fetch.url) && !has(self.fetch.sha256) : \
               has(self.fetch.url) && has(self.fetch.sha256))",
        message: "spec.fetch is one file by url and sha256, or a repository by hub",
    },
    Rule {
        plural: "diffusionmodels",
        at: SPEC,
        field: ".fetch",
        cel: "!has(self.fetch) || self.kind != 'controlnet' || has(self.fetch.hub)",
        message: "a ControlNet is two files: name its repository by spec.fetch.hub, or put its folder into the workers' models folder",
    },
    Rule {
        plural: "diffusionmodels",
        at: SPEC,
        field: ".fetch",
        cel: "!has(self.fetch) || self.kind != 'lora' || !has(self.fetch.hub)",
        message: "a LoRA is one file: name it by spec.fetch.url (ENDPOINT/OWNER/NAME/resolve/REVISION/FILE) and its sha256",
    },
    Rule {
        plural: "gpupools",
        at: SPEC,
        field: ".replicas",
        cel: "!has(self.template) || has(self.replicas)",
        message: "say how many workers the pool is to have: spec.replicas, 0 for none yet",
    },
    Rule {
        plural: "gpupools",
        at: SPEC,
        field: ".scaling",
        cel: "!has(self.scaling) || has(self.template)",
        message: "spec.scaling is for workers the operator keeps: name what they are made from in spec.template",
    },
    Rule {
        plural: "gpupools",
        at: SPEC,
        field: ".replicas",
        cel: "!has(self.provider) || !has(self.replicas) || self.replicas <= 1",
        message: "a provider's pool has one adapter: spec.replicas is 1, or 0 to stop buying; spec.provider.concurrencyMax says \
                  how many jobs it runs at a time",
    },
    Rule {
        plural: "gpupools",
        at: SPEC,
        field: ".scaling",
        cel: "!has(self.provider) || !has(self.scaling)",
        message: "a provider's pool has one adapter, which is not scaled: leave spec.scaling out",
    },
    Rule {
        plural: "gpupools",
        at: "/properties/spec/properties/provider/properties/budget",
        field: ".dayMicroUsd",
        cel: "self.dayMicroUsd <= self.monthMicroUsd",
        message: "the budget of a day is more than that of a month",
    },
    Rule {
        plural: "gpupools",
        at: "/properties/spec/properties/provider/properties/models/items",
        field: ".pricePerImageMicroUsd",
        cel: "has(self.pricePerImageMicroUsd) != has(self.pricePerSecondMicroUsd)",
        message: "say what the model costs: pricePerImageMicroUsd or pricePerSecondMicroUsd, one of them",
    },
    Rule {
        plural: "gpupools",
        at: "/properties/spec/properties/scaling",
        field: ".min",
        cel: "self.min <= self.max",
        message: "spec.scaling.min is more than spec.scaling.max",
    },
];
