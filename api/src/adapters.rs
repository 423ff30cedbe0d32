//! Whether what a request names beside its model goes with that model: LoRAs and ControlNets of the right kind and
//! family. Pure; it must not know where models come from.

use tintype_types::{ErrorCode, GenerationRequest, ModelCard, ModelKind};

use crate::cluster::Models;
use crate::error::ApiError;

/// What a kind is called to people, and the field of a request that names one.
pub(crate) fn kind_name(kind: ModelKind) -> (&'static str, &'static str) {
    match kind {
        ModelKind::Checkpoint => ("model", "model"),
        ModelKind::Lora => ("LoRA", "loras"),
        ModelKind::Controlnet => ("ControlNet", "controls"),
    }
}

/// Refuses the first LoRA or ControlNet that is unknown, of another kind, or of another family than the checkpoint.
pub(crate) fn check(request: &GenerationRequest, checkpoint: &ModelCard, models: &Models) -> Result<(), ApiError> {
    let loras = request.loras.iter().enumerate().map(|(n, lora)| (ModelKind::Lora, n, &lora.name));
    let controls = request.controls.iter().enumerate().map(|(n, control)| (ModelKind::Controlnet, n, &control.name));
    loras.chain(controls).try_for_each(|(wanted, n, name)| {
        let (kind, field) = kind_name(wanted);
        fits(name, wanted, checkpoint, models).map_err(|fault| {
            let (code, message) = match fault {
                Misfit::Unknown => (
                    ErrorCode::ModelNotFound,
                    format!("there is no such {kind} here; GET /api/v1/models lists those there are, by kind"),
                ),
                Misfit::Kind(other) => {
                    let (other, place) = kind_name(other);
                    (ErrorCode::InvalidRequest, format!("{name} is a {other}, not a {kind}: name it in `{place}`"))
                }
                Misfit::Family => (
                    ErrorCode::InvalidRequest,
                    format!("{name} is made for another family of models than {}", checkpoint.name),
                ),
            };
            ApiError::new(code, message).with_param(format!("{field}[{n}].name"))
        })
    })
}

enum Misfit {
    Unknown,
    Kind(ModelKind),
    Family,
}

fn fits(name: &str, wanted: ModelKind, checkpoint: &ModelCard, models: &Models) -> Result<(), Misfit> {
    let card = models.get(name).ok_or(Misfit::Unknown)?;
    if card.kind != wanted {
        return Err(Misfit::Kind(card.kind));
    }
    if card.family == checkpoint.family { Ok(()) } else { Err(Misfit::Family) }
}

#[cfg(test)]
mod tests {
    use tintype_types::inputs::{ControlUse, LoraUse};
    use tintype_types::{ModelDefaults, ModelFamily, Sampler};

    use super::*;

    fn card(name: &str, kind: ModelKind, family: ModelFamily) -> ModelCard {
        ModelCard {
            name: name.to_owned(),
            kind,
            family,
            defaults: ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Euler },
            licence: String::new(),
            description: String::new(),
            vram_bytes: 0,
        }
    }

    fn refusal(loras: &[&str], controls: &[&str]) -> Option<(String, String)> {
        let cards = [
            card("base", ModelKind::Checkpoint, ModelFamily::Sd15),
            card("night", ModelKind::Lora, ModelFamily::Sd15),
            card("night-xl", ModelKind::Lora, ModelFamily::Sdxl),
            card("outline", ModelKind::Controlnet, ModelFamily::Sd15),
        ];
        let models: Models = cards.into_iter().map(|card| (card.name.clone(), card)).collect();
        let mut request = GenerationRequest::new("base", "p");
        request.loras = loras.iter().map(|name| LoraUse { name: (*name).to_owned(), weight: 1.0 }).collect();
        let control = |name: &&str| ControlUse {
            name: (*name).to_owned(),
            image: "inputs/i".to_owned(),
            weight: 1.0,
            start: 0.0,
            end: 1.0,
        };
        request.controls = controls.iter().map(control).collect();
        let error = check(&request, &models["base"], &models).err()?;
        Some((error.param().unwrap_or_default().to_owned(), error.message().to_owned()))
    }

    #[test]
    fn what_fits_passes_and_what_does_not_is_named_with_the_reason() {
        assert_eq!(refusal(&[], &[]), None);
        assert_eq!(refusal(&["night", "night"], &["outline"]), None);
        for (loras, controls, param, why) in [
            (&["night", "nobody"][..], &[][..], "loras[1].name", "no such LoRA"),
            (&["base"], &[], "loras[0].name", "is a model, not a LoRA"),
            (&["outline"], &[], "loras[0].name", "is a ControlNet, not a LoRA: name it in `controls`"),
            (&["night-xl"], &[], "loras[0].name", "another family"),
            (&[], &["outline", "night"], "controls[1].name", "is a LoRA, not a ControlNet"),
            (&[], &["nobody"], "controls[0].name", "no such ControlNet"),
        ] {
            let (named, message) = refusal(loras, controls).unwrap();
            assert_eq!(named, param);
            assert!(message.contains(why), "{message}");
        }
    }
}
