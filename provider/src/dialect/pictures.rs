//! Pictures in what a model answers. Models differ: a URL, a list of them, data URLs, base64, alone or in an object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde_json::Value;
use tintype_types::limits::IMAGES_MAX;

use super::Picture;

/// Fields of an object that hold pictures, in the order they are looked for.
const FIELDS: [&str; 7] = ["images", "image", "pictures", "output", "url", "image_url", "data"];
/// How deep objects may lie in each other.
const DEPTH_MAX: u32 = 4;

/// The pictures of an output, as many as a request may ask for.
pub(super) fn pictures_in(output: &Value) -> Vec<Picture> {
    let mut found = Vec::new();
    collect(output, 0, &mut found);
    found.truncate(IMAGES_MAX as usize);
    found
}

fn collect(value: &Value, depth: u32, found: &mut Vec<Picture>) {
    if depth > DEPTH_MAX || found.len() >= IMAGES_MAX as usize {
        return;
    }
    match value {
        Value::String(text) => found.extend(picture(text)),
        Value::Array(all) => all.iter().for_each(|one| collect(one, depth + 1, found)),
        Value::Object(object) => {
            if let Some(inner) = FIELDS.iter().find_map(|field| object.get(*field)) {
                collect(inner, depth + 1, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn picture(text: &str) -> Option<Picture> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Url::parse(text).ok().map(Picture::At);
    }
    let data =
        text.strip_prefix("data:").map_or(Some(text), |rest| rest.split_once(";base64,").map(|(_, data)| data))?;
    STANDARD.decode(data.trim()).ok().filter(|file| !file.is_empty()).map(Picture::File)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pictures_are_found_however_models_hand_them_out() {
        let at = || Picture::At(Url::parse("https://x.test/0.png").unwrap());
        let file = || Picture::File(b"picture".to_vec());
        let base64 = STANDARD.encode(b"picture");
        let data = format!("data:image/png;base64,{base64}");
        for (output, expected) in [
            (json!("https://x.test/0.png"), vec![at()]),
            (json!(["https://x.test/0.png", data]), vec![at(), file()]),
            (json!({ "images": [{ "image": base64 }, { "url": "https://x.test/0.png" }] }), vec![file(), at()]),
            (json!({ "output": { "image_url": "https://x.test/0.png" } }), vec![at()]),
            (json!({ "seed": 7 }), vec![]),
            (json!("no picture!"), vec![]),
            (json!([[[[[["https://x.test/0.png"]]]]]]), vec![]),
        ] {
            assert_eq!(pictures_in(&output), expected, "{output}");
        }
        assert_eq!(pictures_in(&json!(vec!["https://x.test/0.png"; 50])).len(), IMAGES_MAX as usize);
    }
}
