//! One job: from its input to the answer RunPod is given. Must not know where either goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use tintype_types::{GenerationRequest, ResolvedRequest};
use tokio_util::sync::CancellationToken;

use crate::output::Publisher;
use crate::pipeline::{Flow, Order, Pipeline, seed_of};

/// Most bytes of pictures in an answer: in base64 a third more, and RunPod takes 20 MB.
const PICTURES_BYTES_MAX: usize = 14 << 20;

/// What RunPod is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Drawn { output: Pictures },
    Failed { error: String },
}

#[derive(Debug, Serialize)]
pub(super) struct Pictures {
    images: Vec<Picture>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Picture {
    /// The file, in base64.
    image: String,
    media_type: &'static str,
    sha256: String,
    width: u32,
    height: u32,
    seed: u64,
}

impl Answer {
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into() }
    }
}

/// Draws what `input.request` says. It is a stranger's: the limits of every other way in are checked again.
pub(super) fn draw(
    pipeline: &mut impl Pipeline,
    publisher: &Publisher,
    input: &Value,
    shutdown: &CancellationToken,
) -> Answer {
    let request = match read(input) {
        Ok(request) => request,
        Err(error) => return Answer::failed(error),
    };
    let (order, mut images, mut bytes) = (Order::from(&request), Vec::new(), 0);
    for index in 0..request.images {
        let flow = || if shutdown.is_cancelled() { Flow::Stop } else { Flow::Continue };
        let image = match pipeline.draw(&order, index, &mut |_, _| flow()) {
            Ok(image) => image,
            Err(error) => return Answer::failed(error.to_string()),
        };
        let seed = seed_of(&request, index);
        let made = match publisher.publish(&image, &request, seed) {
            Ok(made) => made,
            Err(error) => return Answer::failed(error.to_string()),
        };
        bytes += made.bytes.len();
        if bytes > PICTURES_BYTES_MAX {
            return Answer::failed(format!(
                "the pictures have more than {PICTURES_BYTES_MAX} bytes, which RunPod does not carry: ask for fewer, or for JPEG"
            ));
        }
        images.push(Picture {
            image: STANDARD.encode(&made.bytes),
            media_type: request.format.media_type(),
            sha256: made.sha256,
            width: image.width,
            height: image.height,
            seed,
        });
    }
    Answer::Drawn { output: Pictures { images } }
}

fn read(input: &Value) -> Result<ResolvedRequest, String> {
    let request =
        input.get("request").ok_or("the input has no `request`: send it by a pool without an input mapping")?;
    let request: ResolvedRequest = serde_json::from_value(request.clone())
        .map_err(|_| "the input's `request` is not one of Tintype's: are both of the same version?")?;
    GenerationRequest::from(request.clone()).validate().map_err(|error| error.to_string())?;
    if request.input_keys().next().is_some() {
        return Err("the request starts from uploaded pictures, which do not travel to RunPod".to_owned());
    }
    Ok(request)
}
