//! The last hands a picture goes through: it is judged, written in the request's format and marked. What comes out is
//! what is uploaded; a picture that cannot be judged or marked does not come out.

use sha2::{Digest as _, Sha256};
use tintype_types::{FailureReason, ResolvedRequest};

use super::c2pa::{MarkError, Marker};
use super::{EncodeError, RgbImage, encode};
use crate::safety::{FilterError, SafetyFilter, Verdict};

/// How this worker's pictures are finished.
#[derive(Debug, Default)]
pub struct Publisher {
    /// Who says which pictures may leave; nobody when filtering is off.
    pub filter: Option<Box<dyn SafetyFilter>>,
    /// Who signs them; nobody when marking is off.
    pub marker: Option<Marker>,
}

/// A picture as it is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// SHA-256 of the file, 64 lower-case hex digits.
    pub sha256: String,
}

/// Why a picture that was drawn does not come out.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The safety filter said no.
    #[error("the safety filter of this installation holds this picture back; another prompt or seed may pass")]
    Refused,
    /// The safety filter said nothing that counts.
    #[error("the safety filter could not judge this picture, so it is held back: {0}")]
    Unjudged(FilterError),
    /// It could not be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It could not be signed.
    #[error(transparent)]
    Mark(#[from] MarkError),
}

impl PublishError {
    /// The reason reported, and whether another attempt could end otherwise.
    pub fn reason(&self) -> (FailureReason, bool) {
        match self {
            // Not to be tried again: a picture must not pass by wearing the filter down.
            Self::Refused | Self::Unjudged(_) => (FailureReason::ContentRefused, false),
            Self::Encode(_) | Self::Mark(_) => (FailureReason::Internal, true),
        }
    }
}

impl Publisher {
    /// Finishes one picture; `seed` is its own.
    ///
    /// # Errors
    /// Whatever keeps it from being passed or written.
    pub fn publish(&self, image: &RgbImage, request: &ResolvedRequest, seed: u64) -> Result<PictureFile, PublishError> {
        if let Some(filter) = &self.filter {
            match filter.judge(image) {
                Ok(Verdict::Pass) => {}
                Ok(Verdict::Refuse) => return Err(PublishError::Refused),
                Err(error) => return Err(PublishError::Unjudged(error)),
            }
        }
        let written = encode(image, request, seed)?;
        let bytes = match &self.marker {
            Some(marker) => marker.mark(&written, request.format)?,
            None => written,
        };
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(PictureFile { bytes, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use tintype_types::{GenerationRequest, ModelDefaults, Sampler};

    use super::*;

    #[test]
    fn only_a_picture_that_was_passed_comes_out() {
        assert!(publish(|| Ok(Verdict::Pass)).is_ok());
        let cases: [(Judge, &str); 2] =
            [(|| Ok(Verdict::Refuse), "another prompt"), (|| Err(FilterError::Garbage), "neither")];
        for (judged, said) in cases {
            let error = publish(judged).unwrap_err();
            assert_eq!(error.reason(), (FailureReason::ContentRefused, false));
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    type Judge = fn() -> Result<Verdict, FilterError>;

    #[derive(Debug)]
    struct Says(Judge);

    impl SafetyFilter for Says {
        fn judge(&self, _image: &RgbImage) -> Result<Verdict, FilterError> {
            (self.0)()
        }
    }

    fn publish(judged: Judge) -> Result<PictureFile, PublishError> {
        let defaults = ModelDefaults { width: 64, height: 64, steps: 1, guidance_scale: 1.0, sampler: Sampler::Ddim };
        let request = GenerationRequest::new("tintype/shapes", "x").resolve(&defaults, 1);
        let image = RgbImage { width: 1, height: 1, pixels: vec![0; 3] };
        let filter: Box<dyn SafetyFilter> = Box::new(Says(judged));
        Publisher { filter: Some(filter), marker: None }.publish(&image, &request, 1)
    }
}
