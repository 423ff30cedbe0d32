//! Models: which names requests may use, and what a request gets when it does not say.

use std::collections::{BTreeMap, BTreeSet};

use tintype_crds::{DiffusionModel, ModelHints, ModelKind};
use tintype_scheduler::{Learned, ModelSeen, Observation};
use tintype_types::{GenerationRequest, ModelDefaults};

use super::{Event, Plain, difference};

/// Every model object, and the names they come to.
#[derive(Debug, Default)]
pub(super) struct Models {
    objects: Plain<DiffusionModel>,
    by_name: BTreeMap<String, (ModelSeen, ModelDefaults)>,
    /// LoRAs and ControlNets, which the scheduler is not told of: jobs are placed by their checkpoint.
    adapters: BTreeSet<(ModelKind, String)>,
    /// What is said of their cost, by name.
    hints: BTreeMap<String, ModelHints>,
}

impl Models {
    pub(super) fn change(&mut self, event: Event<DiffusionModel>) -> Vec<Observation> {
        self.objects.change(event);
        let (mut after, mut hints) = (BTreeMap::new(), BTreeMap::new());
        for model in self.objects.0.values().filter(|model| model.spec.kind == ModelKind::Checkpoint) {
            let name = model.request_name().to_owned();
            if !model.spec.hints.is_empty() {
                hints.entry(name.clone()).or_insert(model.spec.hints);
            }
            // Two objects of one name: the first by object name counts, whichever came first.
            after
                .entry(name.clone())
                .or_insert_with(|| (ModelSeen { name, vram_bytes: model.vram_bytes() }, model.spec.defaults));
        }
        let adapters = self.objects.0.values().filter(|model| model.spec.kind != ModelKind::Checkpoint);
        self.adapters = adapters.map(|model| (model.spec.kind, model.request_name().to_owned())).collect();
        let (changed, gone) = difference(&self.by_name, &after);
        self.by_name = after;
        let changed = changed.into_iter().map(|(seen, _)| Observation::Model(seen));
        let mut told: Vec<_> = changed.chain(gone.into_iter().map(Observation::ModelGone)).collect();
        if self.hints != hints {
            self.hints = hints;
            // Before the models, so that the first job of one is judged by them.
            told.insert(0, Observation::Learned(Box::new(self.hints())));
        }
        told
    }

    pub(super) fn objects(&self) -> Vec<DiffusionModel> {
        self.objects.0.values().cloned().collect()
    }

    /// What is said of the cost of models.
    pub(super) fn hints(&self) -> Learned {
        let mut learned = Learned::default();
        for (name, hints) in &self.hints {
            learned.hint(name, hints.step_ms, hints.load_ms);
        }
        learned
    }

    pub(super) fn defaults(&self, name: &str) -> Option<ModelDefaults> {
        self.by_name.get(name).map(|(_, defaults)| *defaults)
    }

    /// LoRAs and ControlNets as they are known now.
    pub(super) fn adapters(&self) -> BTreeSet<(ModelKind, String)> {
        self.adapters.clone()
    }

    /// The first LoRA or ControlNet a request names that is not known as such.
    pub(super) fn missing<'a>(&self, request: &'a GenerationRequest) -> Option<&'a str> {
        let loras = request.loras.iter().map(|lora| (ModelKind::Lora, &lora.name));
        let controls = request.controls.iter().map(|control| (ModelKind::Controlnet, &control.name));
        let mut named = loras.chain(controls);
        named.find(|(kind, name)| !self.adapters.contains(&(*kind, (*name).clone()))).map(|(_, name)| name.as_str())
    }

    pub(super) fn seen(&self) -> Vec<ModelSeen> {
        self.by_name.values().map(|(seen, _)| seen.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tintype_crds::DiffusionModelSpec;
    use tintype_types::{ModelFamily, Sampler};

    use super::*;

    fn model(object: &str, name: Option<&str>, kind: ModelKind) -> DiffusionModel {
        DiffusionModel::new(
            object,
            DiffusionModelSpec {
                model_name: name.map(str::to_owned),
                kind,
                family: ModelFamily::Sd15,
                defaults: ModelDefaults {
                    width: 512,
                    height: 512,
                    steps: 25,
                    guidance_scale: 7.5,
                    sampler: Sampler::Euler,
                },
                licence: String::new(),
                description: String::new(),
                source: None,
                fetch: None,
                vram_bytes: 0,
                hints: ModelHints::default(),
            },
        )
    }

    #[test]
    fn a_model_is_known_by_the_name_requests_use() {
        let mut models = Models::default();
        models.change(Event::Replace(vec![
            model("shapes", Some("tintype/shapes"), ModelKind::Checkpoint),
            model("plain", None, ModelKind::Checkpoint),
            model("style", None, ModelKind::Lora),
        ]));
        assert_eq!(models.seen().iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["plain", "tintype/shapes"]);
        assert!(models.defaults("shapes").is_none());
    }

    #[test]
    fn a_renamed_model_leaves_its_old_name() {
        let mut models = Models::default();
        models.change(Event::Apply(Box::new(model("a", Some("old"), ModelKind::Checkpoint))));
        let told = models.change(Event::Apply(Box::new(model("a", Some("new"), ModelKind::Checkpoint))));
        let seen = ModelSeen { name: "new".to_owned(), vram_bytes: 0 };
        assert_eq!(told, [Observation::Model(seen), Observation::ModelGone("old".to_owned())]);
        // A second object of the same name takes over when the first goes, without the name being gone in between.
        assert_eq!(models.change(Event::Apply(Box::new(model("b", Some("new"), ModelKind::Checkpoint)))), []);
        assert_eq!(models.change(Event::Delete(Box::new(model("a", None, ModelKind::Checkpoint)))), []);
    }
}
