//! From our request to what a provider's model is sent. A field of ours is named by its path, such as `init.strength` or
//! `controls.0.image`; where a picture is named, the provider gets the picture.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tintype_crds::ProviderModel;
use tintype_types::ResolvedRequest;

/// Where the whole request goes, for workers of ours.
const WHOLE: &str = "request";

/// Parts of a request that may be left out of it; a path into one of them is of no account where it is.
const PARTS: [&str; 2] = ["init", "controls"];

/// Whether a model is told of all that a request asks for.
///
/// # Errors
/// What it is not told of: nothing is left out without a word.
pub(crate) fn check(request: &ResolvedRequest, model: &ProviderModel) -> Result<(), String> {
    if model.input.is_empty() {
        // Workers of ours on a provider's machines cannot reach the store.
        let uploads = request.input_keys().next().is_some();
        return if uploads {
            Err("starts from uploaded pictures, which this pool does not do".to_owned())
        } else {
            Ok(())
        };
    }
    let init = request.init.as_ref();
    let mut asked = vec![
        (!request.negative_prompt.is_empty(), "negativePrompt".to_owned()),
        (request.images > 1, "images".to_owned()),
        (!request.loras.is_empty(), "loras".to_owned()),
        (request.hires.is_some(), "hires".to_owned()),
        (init.is_some(), "init.image".to_owned()),
        (init.is_some(), "init.strength".to_owned()),
        (init.is_some_and(|init| init.mask.is_some()), "init.mask".to_owned()),
    ];
    for (index, control) in request.controls.iter().enumerate() {
        let field = |field: &str| format!("controls.{index}.{field}");
        asked.extend([
            (true, field("image")),
            ((control.weight - 1.0).abs() > f64::EPSILON, field("weight")),
            (control.start > 0.0, field("start")),
            (control.end < 1.0, field("end")),
        ]);
    }
    match asked.into_iter().find(|(asked, field)| *asked && !model.input.contains_key(field)) {
        Some((_, field)) => Err(format!("asks for {field}, which this provider's model is not told of")),
        None => Ok(()),
    }
}

/// The input a model is sent, with what each uploaded picture is handed over as, by its store key.
///
/// # Errors
/// A mapping that names what no request has.
pub(crate) fn input_of(
    request: &ResolvedRequest,
    model: &ProviderModel,
    uploads: &BTreeMap<String, String>,
) -> Result<Value, String> {
    let mut input = Map::new();
    if model.input.is_empty() {
        input.insert(WHOLE.to_owned(), json!(request));
    }
    let all = json!(request);
    for (ours, theirs) in &model.input {
        let found = all.pointer(&format!("/{}", ours.replace('.', "/")));
        let left_out = PARTS.iter().any(|part| ours.strip_prefix(part).is_some_and(|rest| rest.starts_with('.')));
        match found {
            Some(value) if left_out => {
                let upload = value.as_str().and_then(|key| uploads.get(key));
                input.insert(theirs.clone(), upload.map_or_else(|| value.clone(), |handed| json!(handed)));
            }
            Some(value) => drop(input.insert(theirs.clone(), value.clone())),
            None if left_out => {}
            None => return Err(format!("cannot be mapped: a request has no field {ours}")),
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
    use tintype_types::{ControlUse, GenerationRequest, InitImage, LoraUse, ModelDefaults, Sampler};

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

    /// What is sent where no picture was uploaded.
    fn sent(request: &ResolvedRequest, model: &ProviderModel) -> Result<Value, String> {
        check(request, model)?;
        input_of(request, model, &BTreeMap::new())
    }

    #[test]
    fn uploaded_pictures_go_where_the_mapping_says_and_are_refused_where_it_does_not() {
        let control: ControlUse = serde_json::from_value(json!({ "name": "canny", "image": "inputs/c" })).unwrap();
        let init = InitImage { image: "inputs/a".to_owned(), strength: 0.5, mask: Some("inputs/m".to_owned()) };
        let drawn = ResolvedRequest { init: Some(init), controls: vec![control], ..request() };
        let all = json!({
            "prompt": "prompt", "init.image": "image", "init.mask": "mask", "init.strength": "prompt_strength",
            "controls.0.image": "control_image",
        });
        let handed = [("inputs/a", "data:a"), ("inputs/m", "data:m"), ("inputs/c", "data:c")];
        let handed = handed.map(|(key, url)| (key.to_owned(), url.to_owned())).into();
        let mapped = model(json!({ "input": all }));
        check(&drawn, &mapped).unwrap();
        let expected = json!({
            "prompt": "a red circle", "image": "data:a", "mask": "data:m", "prompt_strength": 0.5, "control_image": "data:c",
        });
        assert_eq!(input_of(&drawn, &mapped, &handed).unwrap(), expected);
        assert_eq!(sent(&request(), &mapped).unwrap(), json!({ "prompt": "a red circle" }), "no picture, no field");
        for missing in ["init.image", "init.mask", "init.strength", "controls.0.image"] {
            let mut some = all.clone();
            some.as_object_mut().unwrap().remove(missing);
            assert!(check(&drawn, &model(json!({ "input": some }))).unwrap_err().contains(missing));
        }
        let weighed = ControlUse { weight: 0.7, ..drawn.controls[0].clone() };
        let weighed = ResolvedRequest { controls: vec![weighed], ..drawn.clone() };
        assert!(check(&weighed, &mapped).unwrap_err().contains("controls.0.weight"));
        assert!(check(&drawn, &model(json!({}))).unwrap_err().contains("uploaded pictures"));
    }

    #[test]
    fn fields_get_the_providers_names_and_what_it_is_not_told_of_is_refused() {
        let mapped = model(json!({
            "input": { "prompt": "prompt", "steps": "num_inference_steps", "seed": "seed" },
            "fixed": { "disable_safety_checker": "true", "output_format": "png" },
        }));
        let input = sent(&request(), &mapped).unwrap();
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
            assert!(sent(&request, &mapped).unwrap_err().contains(field));
        }
    }

    #[test]
    fn a_worker_of_ours_is_sent_all_of_it() {
        let input = sent(&request(), &model(json!({}))).unwrap();
        assert_eq!(input, json!({ "request": request() }));
    }

    #[test]
    fn a_purchase_is_known_again_whatever_a_provider_adds_or_sorts() {
        let mapped = model(json!({ "input": { "prompt": "prompt", "seed": "seed" } }));
        let sent = sent(&request(), &mapped).unwrap();
        let shown = json!({ "seed": 7, "scheduler": "default", "prompt": "a red circle" });
        assert_eq!(digest(&restricted(&shown, &mapped)), digest(&sent));
        let other = json!({ "seed": 8, "prompt": "a red circle" });
        assert_ne!(digest(&restricted(&other, &mapped)), digest(&sent));
    }
}
