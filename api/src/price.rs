//! What a job costs: a pure function of what it asks for.
//!
//! One credit is one picture of 512 x 512 pixels in 20 steps; work is linear in pixels, steps and pictures. Rounded up
//! to a whole milli-credit, never below [`Tariff::image_floor`] a picture.

use tintype_types::ResolvedRequest;

use crate::ledger::MILLI_PER_CREDIT;

/// How work is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// Pixels times steps that cost one credit.
    pub pixel_steps_per_credit: u64,
    /// The least a picture costs, in milli-credits: claim, upload and storage are not free either.
    pub image_floor: i64,
}

impl Default for Tariff {
    fn default() -> Self {
        Self { pixel_steps_per_credit: 512 * 512 * 20, image_floor: 10 }
    }
}

/// The price in milli-credits. Limits on a request keep every product far inside an `i64`.
pub fn quote(request: &ResolvedRequest, tariff: &Tariff) -> i64 {
    let pixel_steps = u128::from(request.width) * u128::from(request.height) * u128::from(request.steps);
    let work = pixel_steps * u128::from(request.images) * u128::from(MILLI_PER_CREDIT.unsigned_abs());
    let price = work.div_ceil(u128::from(tariff.pixel_steps_per_credit.max(1)));
    let floor = tariff.image_floor.saturating_mul(i64::from(request.images)).max(1);
    i64::try_from(price).unwrap_or(i64::MAX).max(floor)
}

#[cfg(test)]
mod tests {
    use tintype_types::limits::{IMAGES_MAX, SIDE_PX_MAX, STEPS_MAX};
    use tintype_types::{GenerationRequest, ModelDefaults, Sampler};

    use super::*;
    use crate::ledger::AMOUNT_MAX;

    fn price(width: u32, height: u32, steps: u32, images: u32) -> i64 {
        let defaults = ModelDefaults { width, height, steps, guidance_scale: 7.5, sampler: Sampler::Euler };
        let mut request = GenerationRequest::new("m", "p");
        request.images = Some(images);
        quote(&request.resolve(&defaults, 0), &Tariff::default())
    }

    #[test]
    fn a_credit_is_one_picture_of_512_in_20_steps() {
        assert_eq!(price(512, 512, 20, 1), 1_000);
        assert_eq!(price(512, 512, 20, 4), 4_000);
        assert_eq!(price(1024, 1024, 30, 1), 6_000);
    }

    #[test]
    fn fractions_round_up_and_small_pictures_cost_the_floor() {
        // 64 * 64 * 20 is 15.625 thousandths.
        assert_eq!(price(64, 64, 20, 1), 16);
        assert_eq!(price(64, 64, 1, 1), 10);
        assert_eq!(price(64, 64, 1, 3), 30);
    }

    #[test]
    fn the_largest_request_has_a_price_the_ledger_takes() {
        let largest = price(SIDE_PX_MAX, SIDE_PX_MAX, STEPS_MAX, IMAGES_MAX);
        assert_eq!(largest, 1_200_000);
        assert!(largest < AMOUNT_MAX);
    }
}
