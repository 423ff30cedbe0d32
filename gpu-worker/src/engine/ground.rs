//! The user's picture a lane starts from, at the size of a pass.

use crate::images::{self, Filter, InputError, Mask, decode};
use crate::output::RgbImage;
use crate::pipeline::{LoadedModel, Order, PipelineError};

/// A picture, and where it may be changed.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) picture: RgbImage,
    pub(super) mask: Option<Mask>,
}

/// The user's files, decoded.
pub(super) struct Files {
    picture: RgbImage,
    mask: Option<RgbImage>,
}

impl Files {
    /// Decodes what an order starts from; nothing when it starts from noise.
    ///
    /// # Errors
    /// A file that is missing from the order, or that cannot be used.
    pub(super) fn of(order: &Order) -> Result<Option<Self>, PipelineError> {
        let Some(init) = &order.request.init else { return Ok(None) };
        let file = |input: &str, key: &str| -> Result<RgbImage, PipelineError> {
            let missing = || InputError { input: input.to_owned(), what: "was not handed over".to_owned() };
            Ok(decode(input, order.inputs.get(key).ok_or_else(missing)?)?)
        };
        let picture = file("init", &init.image)?;
        let mask = init.mask.as_ref().map(|key| file("mask", key)).transpose()?;
        Ok(Some(Self { picture, mask }))
    }

    /// Whether only a part of the picture is redrawn.
    pub(super) fn has_mask(&self) -> bool {
        self.mask.is_some()
    }

    /// Scales them to the size of a pass, whatever their proportions, as diffusers does.
    pub(super) fn at(&self, model: &LoadedModel, (width, height): (u32, u32)) -> Ground {
        Ground {
            picture: images::resize(&self.picture, width, height, Filter::Lanczos),
            mask: self.mask.as_ref().map(|mask| Mask::of(mask, width, height, model.vae_factor)),
        }
    }
}
