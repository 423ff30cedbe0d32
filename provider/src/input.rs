//! From our request to what a provider's model is sent.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tintype_crds::ProviderModel;
use tintype_types::ResolvedRequest;

/// Where the whole request goes, for workers of ours.
const WHOLE: &str = "request";

/// The input a model is sent.
///
/// # Errors
/// What the request asks for and the model is not told of: nothing is left out without a word.
pub(crate) fn input_of(request: &ResolvedRequest, model: &ProviderModel) -> Result<Value, String> {
    if request.input_keys().next().is_some() {
        return Err("starts from uploaded pictures, which providers' pools do not do".to_owned());
    }
    let mut input = Map::new();
    if model.input.is_empty() {
        input.insert(WHOLE.to_owned(), json!(request));
    } else {
        let all = json!(request);
        for (ours, theirs) in &model.input {
            let value = all.get(ours).ok_or_else(|| format!("cannot be mapped: a request has no field {ours}"))?;
            input.insert(theirs.clone(), value.clone());
        }
        for (asked, field) in [
            (!request.negative_prompt.is_empty(), "negativePrompt"),
            (request.images > 1, "images"),
            (!request.loras.is_empty(), "loras"),
            (request.hires.is_some(), "hires"),
        ] {
            if asked && !model.input.contains_key(field) {
                return Err(format!("asks for {field}, which this provider's model is not told of"));
            }
        }
    }
    for (name, value) in &model.fixed {
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        input.insert(name.clone(), value);
    }
    Ok(Value::Object(input))
}

/// What a purchase is known by again. Of what a provider shows, only what such a model is sent counts: it may add defaults.
pub(crate) fn digest(input: &Value) -> String {
    let mut sorted = input.clone();
    sorted.sort_all_objects();
    hex::encode(Sha256::digest(sorted.to_string()))
}

/// The part of an input that a model is sent.
pub(crate) fn restricted(input: &Value, model: &ProviderModel) -> Value {
    let whole = model.input.is_empty().then_some(WHOLE);
    let names = model.input.values().chain(model.fixed.keys()).map(String::as_str).chain(whole);
    let shown = names.filter_map(|name| Some((name.to_owned(), input.get(name)?.clone())));
    Value::Object(shown.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use tintype_types::{GenerationRequest, LoraUse, ModelDefaults, Sampler};

    use super::*;

    pub(crate) fn request() -> ResolvedRequest {
        let defaults = ModelDefaults { width: 64, height: 64, steps: 4, guidance_scale: 3.0, sampler: Sampler::Ddim };
        GenerationRequest::new("m", "a red circle").resolve(&defaults, 7)
    }

    fn model(more: Value) -> ProviderModel {
        let mut all = json!({ "name": "m", "target": "o/n", "pricePerImageMicroUsd": 1 });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn fields_get_the_providers_names_and_what_it_is_not_told_of_is_refused() {
        let mapped = model(json!({
            "input": { "prompt": "prompt", "steps": "num_inference_steps", "seed": "seed" },
            "fixed": { "disable_safety_checker": "true", "output_format": "png" },
        }));
        let input = input_of(&request(), &mapped).unwrap();
        let expected = json!({
            "prompt": "a red circle", "num_inference_steps": 4, "seed": 7,
            "disable_safety_checker": true, "output_format": "png",
        });
        assert_eq!(input, expected);
        let loras = vec![LoraUse { name: "l".to_owned(), weight: 1.0 }];
        for (field, request) in [
            ("images", ResolvedRequest { images: 2, ..request() }),
            ("negativePrompt", ResolvedRequest { negative_prompt: "blurry".to_owned(), ..request() }),
            ("loras", ResolvedRequest { loras, ..request() }),
        ] {
            assert!(input_of(&request, &mapped).unwrap_err().contains(field));
        }
    }

    #[test]
    fn a_worker_of_ours_is_sent_all_of_it() {
        let input = input_of(&request(), &model(json!({}))).unwrap();
        assert_eq!(input, json!({ "request": request() }));
    }

    #[test]
    fn a_purchase_is_known_again_whatever_a_provider_adds_or_sorts() {
        let mapped = model(json!({ "input": { "prompt": "prompt", "seed": "seed" } }));
        let sent = input_of(&request(), &mapped).unwrap();
        let shown = json!({ "seed": 7, "scheduler": "default", "prompt": "a red circle" });
        assert_eq!(digest(&restricted(&shown, &mapped)), digest(&sent));
        let other = json!({ "seed": 8, "prompt": "a red circle" });
        assert_ne!(digest(&restricted(&other, &mapped)), digest(&sent));
    }
}
