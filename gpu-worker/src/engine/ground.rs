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

impl Ground {
    /// Puts what the mask keeps back into a picture of the same size, pixel for pixel: the autoencoder alone would change
    /// it by some levels. Without a mask nothing is kept.
    pub(super) fn put_back(&self, drawn: &mut RgbImage) {
        let Some(mask) = &self.mask else { return };
        let (own, _) = self.picture.pixels.as_chunks::<3>();
        let (drawn, _) = drawn.pixels.as_chunks_mut::<3>();
        for ((drawn, own), redrawn) in drawn.iter_mut().zip(own).zip(&mask.pixels) {
            if !redrawn {
                *drawn = *own;
            }
        }
    }
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
