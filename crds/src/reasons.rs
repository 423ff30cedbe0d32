//! Every reason our conditions can have, with when it is set. `REASONS.md` beside this crate is printed from here.

use std::fmt::Write as _;

use tintype_types::FailureReason;
use tintype_types::worker::UnwellReason;

/// The condition that says whether a worker has the job now.
pub const ASSIGNED: &str = "Assigned";
/// The terminal condition of a job that made its pictures. `kubectl wait --for=condition=Complete` waits for it.
pub const COMPLETE: &str = "Complete";
/// The terminal condition of a job that will not. `kubectl wait --for=condition=Failed` waits for it.
pub const FAILED: &str = "Failed";

/// `Assigned=True`: a worker has the job.
pub const GIVEN_TO_WORKER: &str = "GivenToWorker";
/// `Assigned=False`: the job is over.
pub const ENDED: &str = "Ended";
/// `Complete=True`: the pictures are stored.
pub const PICTURES_STORED: &str = "PicturesStored";

/// The condition of a queue, whether its place among other queues is understood; of a GpuPool whose workers the operator keeps; of
/// a DiffusionModel that is fetched; and of a GpuWorker, whether its GPU is fit for work.
pub const READY: &str = "Ready";
/// `Ready=True`: it is.
pub const IN_PLACE: &str = "InPlace";
/// `Ready=False`: its parents lead back to itself, or too far.
pub const PARENT_CYCLE: &str = "ParentCycle";
/// `Ready=True`: as many workers as wanted are ready.
pub const WORKERS_READY: &str = "WorkersReady";
/// `Ready=False`: some are still to come, or to go.
pub const WORKERS_CHANGING: &str = "WorkersChanging";
/// `Ready=False`: the PodTemplate is not there.
pub const TEMPLATE_NOT_FOUND: &str = "TemplateNotFound";
/// `Ready=False`: the PodTemplate is no template of a worker, or the pool's name is too long for its pods.
pub const POOL_INVALID: &str = "PoolInvalid";

/// The condition of a GpuPool with `spec.warmModels`: whether a worker has each of them in memory.
pub const MODELS_WARM: &str = "ModelsWarm";
/// `ModelsWarm=True`: they are.
pub const MODELS_RESIDENT: &str = "ModelsResident";
/// `ModelsWarm=False`: one is loaded now, or the workers that could are at work.
pub const MODELS_LOADING: &str = "ModelsLoading";
/// `ModelsWarm=False`: one could not be loaded; it is tried again.
pub const WARM_UP_FAILED: &str = "WarmUpFailed";
/// `ModelsWarm=False`: memory is full of models that are asked for.
pub const NO_ROOM_TO_WARM: &str = "NoRoomToWarm";
/// `ModelsWarm=False`: no worker of the pool says that it can load one.
pub const NO_WORKER_TO_WARM: &str = "NoWorkerToWarm";

/// `Ready=True`: a model that is not fetched lies with workers.
pub const WORKERS_HAVE_IT: &str = "WorkersHaveIt";
/// `Ready=False`: a model that is not fetched lies with no worker.
pub const NO_WORKER_HAS_IT: &str = "NoWorkerHasIt";
/// `Ready=True`: a model's file is there, and is what the model says it is.
pub const SOURCE_READ: &str = "SourceRead";
/// `Ready=False`: nobody has looked at it yet.
pub const SOURCE_PENDING: &str = "SourcePending";
/// `Ready=False`: it could not be read.
pub const SOURCE_UNREACHABLE: &str = "SourceUnreachable";
/// `Ready=False`: it is no file of a model, or a damaged one.
pub const SOURCE_INVALID: &str = "SourceInvalid";
/// `Ready=False`: it is another kind of model, or of another family.
pub const SOURCE_MISMATCH: &str = "SourceMismatch";
/// `Ready=False`: there is no room to tell workers of it.
pub const TOO_MANY_MODELS: &str = "TooManyModels";

/// `Ready=True`: a worker's GPU is fit for work.
pub const GPU_WELL: &str = "GpuWell";

/// `Ready=False` of a worker: the reason for what ails its GPU.
pub fn unwell_reason(reason: UnwellReason) -> &'static str {
    match reason {
        UnwellReason::Xid => "GpuXid",
        UnwellReason::Ecc => "GpuEcc",
        UnwellReason::Lost => "GpuLost",
        UnwellReason::Recut => "GpuRecut",
        UnwellReason::Hot => "GpuHot",
        UnwellReason::Crowded => "GpuCrowded",
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// The reason.
    pub name: &'static str,
    /// Conditions that carry it, with their status.
    pub on: &'static str,
    /// When it is set.
    pub when: &'static str,
    /// What to do about it.
    pub next: &'static str,
}

/// Every reason, in the order of documentation.
pub fn all() -> Vec<Reason> {
    let ours = [
        Reason {
            name: GIVEN_TO_WORKER,
            on: "Assigned=True",
            when: "a worker's claim was answered with the job",
            next: "nothing; status.assignment says who has it",
        },
        Reason {
            name: ENDED,
            on: "Assigned=False",
            when: "the job became Complete or Failed",
            next: "nothing; status.assignment says who had it last",
        },
        Reason {
            name: PICTURES_STORED,
            on: "Complete=True",
            when: "the worker uploaded every picture and its finish was accepted",
            next: "fetch them; status.outputs lists their keys",
        },
        Reason {
            name: IN_PLACE,
            on: "Ready=True of a GenerationQueue",
            when: "the queue's place among others is understood",
            next: "nothing",
        },
        Reason {
            name: PARENT_CYCLE,
            on: "Ready=False of a GenerationQueue",
            when: "the queue's parents lead back to itself, or are more than fifteen",
            next: "change `spec.parent` of one of them; until then the queue stands for itself",
        },
        Reason {
            name: WORKERS_READY,
            on: "GpuPool: Ready=True",
            when: "as many workers as spec.replicas asks for are ready",
            next: "nothing",
        },
        Reason {
            name: WORKERS_CHANGING,
            on: "GpuPool: Ready=False",
            when: "workers are starting or going",
            next: "wait; `kubectl get pods --selector tintype.dev/pool=NAME` shows what holds one up, such as a GPU that is not free",
        },
        Reason {
            name: TEMPLATE_NOT_FOUND,
            on: "GpuPool: Ready=False",
            when: "no PodTemplate of the name in spec.template is in the operator's namespace; the workers there are stay",
            next: "make it (the chart does with worker.managedBy=pool), or correct the name",
        },
        Reason {
            name: POOL_INVALID,
            on: "GpuPool: Ready=False",
            when: "the PodTemplate has no container named worker, or the pool's name is longer than 50 characters",
            next: "correct what the message names; the workers there are stay",
        },
    ];
    ours.into_iter()
        .chain(of_warm_models())
        .chain(of_models())
        .chain(of_workers())
        .chain(FailureReason::ALL.map(of_failure))
        .collect()
}

fn of_warm_models() -> [Reason; 5] {
    let not_yet = "GpuPool: ModelsWarm=False";
    [
        Reason {
            name: MODELS_RESIDENT,
            on: "GpuPool: ModelsWarm=True",
            when: "a worker of the pool has each model of spec.warmModels in memory",
            next: "nothing",
        },
        Reason {
            name: MODELS_LOADING,
            on: not_yet,
            when: "a worker loads one of them, or every worker that could is at work; jobs go first",
            next: "wait; `kubectl tintype top` shows who is at work",
        },
        Reason {
            name: WARM_UP_FAILED,
            on: not_yet,
            when: "one of them could not be loaded; it is tried again after 10 seconds, then less and less often, at least every 10 minutes",
            next: "do what the message says; the worker's log says more",
        },
        Reason {
            name: NO_ROOM_TO_WARM,
            on: not_yet,
            when: "the memory of every worker that could load one is full of models that are asked for or kept warm; those are never given up for it",
            next: "add a worker, or take a model off spec.warmModels",
        },
        Reason {
            name: NO_WORKER_TO_WARM,
            on: not_yet,
            when: "no worker of the pool that is there says that it can load one and takes such orders",
            next: "see whether workers run, have the model in a models directory, and are of this version",
        },
    ]
}

fn of_models() -> [Reason; 8] {
    let refused = "DiffusionModel: Ready=False";
    [
        Reason {
            name: WORKERS_HAVE_IT,
            on: "DiffusionModel: Ready=True",
            when: "it has no spec.fetch, and workers of the pools in status.pools have its files",
            next: "nothing; a pool that was scaled to none keeps its place",
        },
        Reason {
            name: NO_WORKER_HAS_IT,
            on: refused,
            when: "it has no spec.fetch, and no worker that was heard of has a checkpoint of its name",
            next: "put its files into a models directory of workers, or say in spec.fetch where they are",
        },
        Reason {
            name: SOURCE_READ,
            on: "DiffusionModel: Ready=True",
            when: "the file's header was read and is what spec.kind and spec.family say; workers have been told of it",
            next: "nothing; a worker fetches it when it first needs it, and refuses it if its SHA-256 is another",
        },
        Reason {
            name: SOURCE_PENDING,
            on: refused,
            when: "the operator has not looked at the source yet",
            next: "wait some seconds",
        },
        Reason {
            name: SOURCE_UNREACHABLE,
            on: refused,
            when: "the URL did not answer, or not with a file",
            next: "try it from a pod of the operator's namespace; it is looked at again every minute",
        },
        Reason {
            name: SOURCE_INVALID,
            on: refused,
            when: "the file is no safetensors file of a Stable Diffusion checkpoint or LoRA, or is cut short",
            next: "correct spec.fetch, or upload the file again; the message says what is wrong",
        },
        Reason {
            name: SOURCE_MISMATCH,
            on: refused,
            when: "the file is of another kind or family than the model says",
            next: "correct spec.kind and spec.family, or spec.fetch",
        },
        Reason {
            name: TOO_MANY_MODELS,
            on: refused,
            when: "the ConfigMap by which workers are told has no room left (some thousand models)",
            next: "delete models nobody asks for, or put their files into the workers' models folder",
        },
    ]
}

fn of_workers() -> Vec<Reason> {
    let well = Reason {
        name: GPU_WELL,
        on: "GpuWorker: Ready=True",
        when: "the worker takes work as far as its GPU is concerned",
        next: "nothing",
    };
    let unwell = |reason: UnwellReason| {
        let (when, next) = match reason {
            UnwellReason::Xid => (
                "the driver reported a critical XID error; the job moved",
                "look the number up in NVIDIA's list; if it comes again, drain the node and reset the GPU",
            ),
            UnwellReason::Ecc => (
                "ECC found memory errors it could not repair; what was drawn meanwhile was drawn anew elsewhere",
                "reset the GPU where status.gpus says pageRetirementPending; replace it if it comes again",
            ),
            UnwellReason::Lost => (
                "the GPU does not answer any more",
                "drain the node and start it anew; check the seat of the card and its power",
            ),
            UnwellReason::Recut => (
                "the GPU was cut into other MIG devices than those the worker was started on",
                "delete the worker's pod: the next one starts on what there is",
            ),
            UnwellReason::Hot => (
                "the GPU is at its limit of temperature and slows itself down",
                "check the cooling, or lower the power limit; work comes again once it has cooled by 5 degrees",
            ),
            UnwellReason::Crowded => (
                "other processes hold an eighth of the GPU's memory or more",
                "end them, or start the worker with --share-gpu",
            ),
        };
        Reason { name: unwell_reason(reason), on: "GpuWorker: Ready=False", when, next }
    };
    std::iter::once(well).chain(UnwellReason::ALL.map(unwell)).collect()
}

fn of_failure(reason: FailureReason) -> Reason {
    let (when, next) = match reason {
        FailureReason::InvalidRequest => (
            "the request asks for something the model cannot do, such as a size it has no memory for",
            "make another job with the field the message names put right",
        ),
        FailureReason::UnknownModel => (
            "no DiffusionModel of the requested name was there, nor came within the grace time",
            "check the name with `kubectl get diffusionmodels`, or apply the model",
        ),
        FailureReason::ModelUnreadable => (
            "the model's files are missing on the worker, damaged, or of a kind it does not read",
            "check the worker's model folder and its log",
        ),
        FailureReason::OutOfMemory => (
            "the GPU or the host ran out of memory during the attempt",
            "ask for smaller or fewer pictures, or name a pool with larger GPUs",
        ),
        FailureReason::GpuFault => (
            "the GPU reported a fault that the job itself may have brought about, such as XID 13, 31 or 43",
            "look at the worker's log and the node's kernel log; such an attempt counts as failed",
        ),
        FailureReason::UploadFailed => {
            ("a picture was made and could not be stored", "check the image store and the way from the worker to it")
        }
        FailureReason::WorkerLost => (
            "the worker was not heard from within its lease",
            "nothing if it happens once; look for evicted pods if not",
        ),
        FailureReason::WorkerDrained => (
            "the worker was shutting down, or its GPU was not fit any more (a fault of its own, heat, other processes), and \
             gave the job back",
            "nothing; such an attempt does not count as failed; if the message names a GPU, look at the node's kernel log",
        ),
        FailureReason::Preempted => (
            "the GPU was wanted for a more urgent job; the attempt stopped between two steps and left a checkpoint",
            "nothing; the next attempt goes on from there, and this one does not count as failed",
        ),
        FailureReason::ContentRefused => (
            "the installation's safety filter held the picture back, or failed, which counts as that",
            "another prompt or seed; if every job ends so, look at the worker's log and its --safety-filter",
        ),
        FailureReason::Internal => {
            ("the pipeline broke in a way it should not have", "the worker's log around that time says more; report it")
        }
        FailureReason::TooManyAttempts => {
            ("as many attempts failed as may", "the message has the last attempt's reason; put that right first")
        }
        FailureReason::Cancelled => ("the job was deleted before it ended", "nothing"),
        FailureReason::DeadlineExceeded => (
            "the deadline cannot be met, or passed before a worker was free",
            "make another job with the change the message names, or with a later deadline; or let it run late (`whenLate: Run`)",
        ),
    };
    Reason {
        name: reason.as_str(),
        on: "Failed=True; Assigned=False while the job waits for another attempt",
        when,
        next,
    }
}

/// The table as Markdown: the text of `REASONS.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Printed from `src/reasons.rs`; `UPDATE=1 cargo test -p tintype-crds` writes it anew. A reason is part of the\n\
         API: programs may match on it. A message is for people and may change.\n\n\
         | reason | on | set when | what to do |\n|---|---|---|---|\n",
    );
    for reason in all() {
        writeln!(text, "| `{}` | {} | {} | {} |", reason.name, reason.on, reason.when, reason.next)
            .expect("a string takes every write");
    }
    text
}
