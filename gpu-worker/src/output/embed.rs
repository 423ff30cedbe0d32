//! What is written into a picture's file, whatever its format.

use serde_json::json;
use tintype_types::{GenerationRequest, ResolvedRequest};

use super::parameters_text;
use super::xmp;

/// Largest XMP packet: a JPEG segment has 65,535 bytes, two of them its length and 29 the packet's name.
const XMP_BYTES_MAX: usize = 65_535 - 2 - 29;

/// What goes into one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Embedded {
    /// What the request says to embed; nothing when it says not to.
    pub(super) settings: Option<Settings>,
    /// The XMP packet with the mark alone, for formats that hold the settings elsewhere; empty for none.
    pub(super) xmp: String,
}

/// The two forms of a picture's settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// A1111's text.
    pub(super) parameters: String,
    /// Our JSON.
    pub(super) json: String,
}

impl Embedded {
    pub(super) fn new(request: &ResolvedRequest, seed: u64) -> Self {
        let settings = request
            .embed_parameters
            .then(|| Settings { parameters: parameters_text(request, seed), json: settings_json(request, seed) });
        Self { settings, xmp: xmp::packet(None) }
    }

    /// The XMP packet with the settings inside. They are left out where a JPEG segment could not hold them (thousands of
    /// escaped characters), so that the picture is still written.
    pub(super) fn xmp_with_settings(&self) -> String {
        let json = self.settings.as_ref().map(|settings| settings.json.as_str());
        Some(xmp::packet(json)).filter(|packet| packet.len() <= XMP_BYTES_MAX).unwrap_or_else(|| self.xmp.clone())
    }
}

/// Our JSON: the whole request, so that it can be sent again, and this picture's own seed.
fn settings_json(request: &ResolvedRequest, seed: u64) -> String {
    // Asked for once more, this very picture is the first and only one of its request.
    let again = ResolvedRequest { seed, images: 1, ..request.clone() };
    let text = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": request.model,
        "sampler": request.sampler.as_str(),
        "seed": seed,
        "request": GenerationRequest::from(again),
    })
    .to_string();
    // XML forbids these two; outside strings JSON has no place for them.
    text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}
