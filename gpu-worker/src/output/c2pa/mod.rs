//! Content credentials (C2PA): a signed manifest in the file that says Tintype made the picture by an algorithm, bound to
//! its bytes, so that a change to a pixel or to the text inside shows.
//!
//! C2PA specification 2.3; the manifest is written by the `c2pa` crate. It must not know where keys come from
//! (`identity`) nor what else is in the file.

mod identity;
#[cfg(test)]
mod tests;

pub use identity::{Identity, IdentityError};

use std::io::Cursor;
use std::sync::Arc;

use c2pa::{BoxedSigner, Builder, Context, Reader, SigningAlg, ValidationState};
use serde_json::json;
use tintype_types::ImageFormat;

use super::xmp::TRAINED_ALGORITHMIC_MEDIA;
use super::{RgbImage, encode_bare_png};

/// Why a picture could not be marked.
#[derive(Debug, thiserror::Error)]
#[error("the picture could not be signed")]
pub struct MarkError(#[from] c2pa::Error);

/// Signs pictures with one key.
pub struct Marker {
    signer: BoxedSigner,
    context: Arc<Context>,
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A signer holds its key.
        f.debug_struct("Marker").field("alg", &self.signer.alg()).finish_non_exhaustive()
    }
}

impl Marker {
    /// Takes a key and its certificates, and signs one small picture with them on trial: a certificate that has run out,
    /// that is for another key or for another purpose is told now and not with the first job.
    ///
    /// # Errors
    /// Whatever a reader of the trial's picture would hold against it.
    pub fn new(identity: &Identity) -> Result<Self, IdentityError> {
        let unfit = |why: String| IdentityError::Unfit { why };
        let (chain, key) = (identity.chain_pem().as_bytes(), identity.key_pem().as_bytes());
        let signer = c2pa::create_signer::from_keys(chain, key, identity.alg(), None)
            .map_err(|error| unfit(error.to_string()))?;
        let marker = Self { signer, context: Context::new().into_shared() };
        let faults = marker.on_trial().map_err(|error| unfit(error.to_string()))?;
        if faults.is_empty() { Ok(marker) } else { Err(unfit(faults.join(", "))) }
    }

    /// The algorithm of the key.
    pub fn alg(&self) -> SigningAlg {
        self.signer.alg()
    }

    /// Puts a signed manifest into a file made by [`super::encode`]. Its bytes differ from call to call: a manifest has a
    /// name of its own.
    ///
    /// # Errors
    /// A file that is not of the format, or a signer that fails.
    pub fn mark(&self, file: &[u8], format: ImageFormat) -> Result<Vec<u8>, MarkError> {
        let mut builder = Builder::from_shared_context(&self.context).with_definition(manifest())?;
        let mut marked = Cursor::new(Vec::with_capacity(file.len() + (16 << 10)));
        builder.sign(self.signer.as_ref(), format.media_type(), &mut Cursor::new(file), &mut marked)?;
        Ok(marked.into_inner())
    }

    /// Marks one pixel and gives what a reader holds against it. That nobody vouches for the certificate is no fault: who
    /// is trusted is for readers to say.
    fn on_trial(&self) -> Result<Vec<String>, c2pa::Error> {
        let pixel = RgbImage { width: 1, height: 1, pixels: vec![0; 3] };
        let file = encode_bare_png(&pixel).map_err(|error| c2pa::Error::OtherError(Box::new(error)))?;
        let marked = self.mark(&file, ImageFormat::Png).map_err(|MarkError(error)| error)?;
        let reader = Reader::from_shared_context(&self.context)
            .with_stream(ImageFormat::Png.media_type(), Cursor::new(marked))?;
        match reader.validation_state() {
            ValidationState::Valid | ValidationState::Trusted => Ok(Vec::new()),
            ValidationState::Invalid => {
                let faults = reader.validation_status().unwrap_or_default();
                Ok(faults.iter().map(|status| status.code().to_owned()).collect())
            }
        }
    }
}

/// What every manifest says. The settings of the picture are not in it: they may be embedded beside it, and are covered
/// by its hash then.
fn manifest() -> serde_json::Value {
    let tintype = json!({ "name": "Tintype", "version": env!("CARGO_PKG_VERSION") });
    json!({
        "claim_generator_info": [tintype],
        "assertions": [{
            "label": "c2pa.actions.v2",
            "data": { "actions": [{
                "action": "c2pa.created",
                "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
                "softwareAgent": tintype,
            }] },
        }],
    })
}
