//! What is to be said of a model whose file is elsewhere, and the card workers know it by. Pure: the model and what its
//! file's header said in, a status and a card out.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::json;
use tintype_catalogue::Contents;
use tintype_crds::reasons::{READY, SOURCE_MISMATCH, SOURCE_PENDING, SOURCE_READ};
use tintype_crds::{DiffusionModel, DiffusionModelStatus, ModelFetch};
use tintype_types::{ModelFamily, ModelKind};

use super::homes;
use crate::refusal::Refusal;

/// What a look at a model's source came to.
pub(super) type Looked = Result<Found, Refusal>;

/// What lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it is.
    pub(super) contents: Contents,
    /// The files it is made of, by their path in its folder; none where it is the one file the model names.
    pub(super) files: BTreeMap<String, Part>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) url: String,
    pub(super) sha256: String,
}

/// Holds what the source is against what the model says it is.
pub(super) fn check(model: &DiffusionModel, found: Found) -> Looked {
    let (said, contents) = ((model.spec.kind, model.spec.family), found.contents);
    if said == (contents.kind, contents.family) {
        return Ok(found);
    }
    let message = format!(
        "the source is a {} and the model says it is a {}: correct spec.kind and spec.family, or spec.fetch",
        spoken(contents.kind, contents.family),
        spoken(said.0, said.1),
    );
    Err(Refusal { reason: SOURCE_MISMATCH, message })
}

/// As in "checkpoint of sd15".
fn spoken(kind: ModelKind, family: ModelFamily) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} of {}", word(json!(kind)), word(json!(family)))
}

/// What is to be said of a model, but for since when.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// Of its source; nothing where nobody looked at it yet.
    Source(Option<Looked>),
    /// Of the pools whose workers have it.
    Homes(Vec<String>),
}

/// The status of a model; a condition that says what it said keeps its time.
pub(super) fn status(model: &DiffusionModel, word: &Word, now: &Time) -> DiffusionModelStatus {
    let (mut weight_bytes, mut pools) = (None, Vec::new());
    let (ready, reason, message) = match word {
        Word::Source(None) => (false, SOURCE_PENDING, "the source has not been looked at yet".to_owned()),
        Word::Source(Some(Err(refusal))) => (false, refusal.reason, refusal.message.clone()),
        Word::Source(Some(Ok(found))) => {
            weight_bytes = Some(found.contents.bytes);
            (true, SOURCE_READ, "workers have been told of it and fetch it when they first need it".to_owned())
        }
        Word::Homes(homes) => {
            pools.clone_from(homes);
            homes::said(homes)
        }
    };
    let holds = if ready { "True" } else { "False" };
    let mut before = model.status.iter().flat_map(|status| &status.conditions);
    let since =
        before.find(|old| old.type_ == READY && old.status == holds).map(|old| old.last_transition_time.clone());
    DiffusionModelStatus {
        observed_generation: model.metadata.generation,
        weight_bytes,
        pools,
        conditions: vec![Condition {
            type_: READY.to_owned(),
            status: holds.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: model.metadata.generation,
            last_transition_time: since.unwrap_or_else(|| now.clone()),
        }],
    }
}

/// The model's card, as it lies in a models directory: its files are fetched by the worker and must have these SHA-256s.
pub(super) fn card(model: &DiffusionModel, fetch: &ModelFetch, found: &Found) -> String {
    let spec = &model.spec;
    let vram_bytes = if spec.vram_bytes == 0 { found.contents.bytes } else { spec.vram_bytes };
    let each = |of: fn(&Part) -> &String| -> BTreeMap<_, _> {
        found.files.iter().map(|(path, part)| (path.clone(), of(part).clone())).collect()
    };
    let (source, sha256) = if found.files.is_empty() {
        (json!(fetch.url), json!(fetch.sha256))
    } else {
        (json!(each(|part| &part.url)), json!(each(|part| &part.sha256)))
    };
    json!({
        "name": model.request_name(), "kind": spec.kind, "family": spec.family, "defaults": spec.defaults,
        "licence": spec.licence, "description": spec.description, "vramBytes": vram_bytes,
        "source": source, "sha256": sha256,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tintype_catalogue::{Catalogue, Layout};
    use tintype_crds::reasons::SOURCE_UNREACHABLE;

    const BYTES: u64 = 2_132_625_612;

    fn model() -> DiffusionModel {
        serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": "dream", "generation": 3 },
            "spec": {
                "modelName": "team/dream", "family": "sd15", "licence": "OpenRAIL-M",
                "defaults": { "width": 512, "height": 512, "steps": 25, "guidanceScale": 7.5, "sampler": "euler" },
                "fetch": { "url": "https://models.example/dream.safetensors", "sha256": "ab".repeat(32) },
            },
        }))
        .unwrap()
    }

    fn contents(kind: ModelKind, family: ModelFamily) -> Found {
        Found { contents: Contents { kind, family, bytes: BYTES }, files: BTreeMap::new() }
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_with_both_names() {
        let right = contents(ModelKind::Checkpoint, ModelFamily::Sd15);
        assert_eq!(check(&model(), right.clone()), Ok(right));
        let refusal = check(&model(), contents(ModelKind::Lora, ModelFamily::Sdxl)).unwrap_err();
        assert_eq!(refusal.reason, SOURCE_MISMATCH);
        assert!(
            refusal.message.contains("a lora of sdxl and the model says it is a checkpoint of sd15"),
            "{refusal:?}"
        );
        assert!(check(&model(), contents(ModelKind::Checkpoint, ModelFamily::Sdxl)).is_err());
    }

    #[test]
    fn what_is_known_is_in_the_status_and_times_are_kept() {
        let time = |second: u64| crate::convert::to_time(tintype_types::Timestamp(second * 1_000));
        let right: Looked = Ok(contents(ModelKind::Checkpoint, ModelFamily::Sd15));
        let refused: Looked = Err(Refusal { reason: SOURCE_UNREACHABLE, message: "nobody is there".to_owned() });
        let mut model = model();
        let cases = [(None, SOURCE_PENDING, 1), (Some(refused), SOURCE_UNREACHABLE, 1), (Some(right), SOURCE_READ, 3)];
        for (second, (looked, reason, since)) in (1..).zip(cases) {
            let status = status(&model, &Word::Source(looked), &time(second));
            assert_eq!((status.conditions[0].reason.as_str(), status.observed_generation), (reason, Some(3)));
            assert_eq!(status.conditions[0].last_transition_time, time(since), "{reason}");
            assert_eq!(status.weight_bytes, (reason == SOURCE_READ).then_some(BYTES));
            model.status = Some(status);
        }
    }

    #[test]
    fn the_catalogue_of_workers_reads_the_card() {
        let folder = tempfile::tempdir().unwrap();
        let model = model();
        let fetch = model.spec.fetch.as_ref().unwrap();
        let text = card(&model, fetch, &contents(ModelKind::Checkpoint, ModelFamily::Sd15));
        std::fs::write(folder.path().join("dream.tintype.json"), text).unwrap();
        let catalogue = Catalogue::scan(&[folder.path().to_owned()]);
        assert!(catalogue.refused.is_empty(), "{:?}", catalogue.refused);
        let entry = catalogue.checkpoint("team/dream").unwrap();
        assert_eq!((entry.layout, entry.card.vram_bytes), (Layout::File, BYTES));
        let source = entry.source.as_ref().unwrap();
        assert!(source.cached_in(folder.path()).ends_with(format!("{}.safetensors", "ab".repeat(32))));
    }

    #[test]
    fn the_catalogue_of_workers_reads_the_card_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let part =
            |path: &str| Part { url: format!("https://hub.example/a/b/resolve/0a/{path}"), sha256: "cd".repeat(32) };
        let paths = ["model_index.json", "unet/diffusion_pytorch_model.safetensors"];
        let files = paths.iter().map(|path| ((*path).to_owned(), part(path))).collect();
        let found = Found { files, ..contents(ModelKind::Checkpoint, ModelFamily::Sd15) };
        let fetch = ModelFetch { url: None, sha256: None, hub: None };
        std::fs::write(folder.path().join("dream.tintype.json"), card(&model(), &fetch, &found)).unwrap();
        let catalogue = Catalogue::scan(&[folder.path().to_owned()]);
        assert!(catalogue.refused.is_empty(), "{:?}", catalogue.refused);
        let entry = catalogue.checkpoint("team/dream").unwrap();
        assert_eq!((entry.layout, entry.card.vram_bytes), (Layout::Folder, BYTES));
        let files = entry.source.as_ref().unwrap().files_in(folder.path());
        assert_eq!(files[1].0.url, part(paths[1]).url);
        assert!(files[1].1.ends_with(paths[1]));
    }
}
