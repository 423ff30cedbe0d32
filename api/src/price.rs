//! What a job costs: a pure function of what it asks for.
//!
//! One credit is one picture of 512 x 512 pixels in 20 evaluations of the denoiser; work is linear in pixels, evaluations
//! and pictures. Rounded up to a whole milli-credit, never below [`Tariff::image_floor`] a picture. docs/PRICES.md says
//! the same to users.

use tintype_types::ResolvedRequest;

use crate::ledger::MILLI_PER_CREDIT;

/// A strength of 1, in thousandths.
const WHOLE: u128 = 1_000;
/// A denoiser has two halves: the way down with the middle, and the way up.
const DENOISER_HALVES: u128 = 2;
/// What each ControlNet adds to every evaluation: it is a copy of the way down with the middle.
const CONTROL_HALVES: u128 = 1;

/// How work is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// Pixels times evaluations that cost one credit.
    pub pixel_evaluations_per_credit: u64,
    /// The least a picture costs, in milli-credits: claim, upload and storage are not free either.
    pub image_floor: i64,
}

impl Default for Tariff {
    fn default() -> Self {
        Self { pixel_evaluations_per_credit: 512 * 512 * 20, image_floor: 10 }
    }
}

/// The price in milli-credits. Limits on a request keep every product far inside an `i64`.
pub fn quote(request: &ResolvedRequest, tariff: &Tariff) -> i64 {
    let share = request.init.as_ref().map_or(WHOLE, |init| u128::from(init.strength_millis()));
    let first = pixel_evaluations(request, (request.width, request.height), share);
    let second = request.hires.map_or(0, |hires| {
        pixel_evaluations(request, (hires.width, hires.height), u128::from(hires.strength_millis()))
    });
    let halves = DENOISER_HALVES + CONTROL_HALVES * request.controls.len() as u128;
    let work = (first + second) * halves * u128::from(request.images) * u128::from(MILLI_PER_CREDIT.unsigned_abs());
    let price = work.div_ceil(u128::from(tariff.pixel_evaluations_per_credit.max(1)) * DENOISER_HALVES);
    let floor = tariff.image_floor.saturating_mul(i64::from(request.images)).max(1);
    i64::try_from(price).unwrap_or(i64::MAX).max(floor)
}

/// What is charged of a price when only `made` of the pictures asked for were: its share, rounded down.
pub fn charge(price: i64, made: u32, asked: u32) -> i64 {
    if made >= asked {
        return price;
    }
    let share = i128::from(price) * i128::from(made) / i128::from(asked.max(1));
    i64::try_from(share).unwrap_or(price)
}

/// Work of one pass: of the request's steps the share that is taken, whole steps as the worker takes them.
fn pixel_evaluations(request: &ResolvedRequest, (width, height): (u32, u32), share: u128) -> u128 {
    let steps = u128::from(request.steps) * share / WHOLE;
    let evaluations = steps * u128::from(request.sampler.evaluations_per_step());
    u128::from(width) * u128::from(height) * evaluations
}

#[cfg(test)]
mod tests {
    use tintype_types::inputs::{ControlUse, Hires, InitImage, LoraUse};
    use tintype_types::limits::{CONTROLS_MAX, IMAGES_MAX, SIDE_PX_MAX, STEPS_MAX};
    use tintype_types::{GenerationRequest, ModelDefaults, Sampler};

    use super::*;
    use crate::ledger::AMOUNT_MAX;

    fn price(width: u32, height: u32, steps: u32, images: u32) -> i64 {
        price_with(width, height, steps, |request| request.images = Some(images))
    }

    fn price_with(width: u32, height: u32, steps: u32, change: impl FnOnce(&mut GenerationRequest)) -> i64 {
        let defaults = ModelDefaults { width, height, steps, guidance_scale: 7.5, sampler: Sampler::Euler };
        let mut request = GenerationRequest::new("m", "p");
        change(&mut request);
        quote(&request.resolve(&defaults, 0), &Tariff::default())
    }

    fn control() -> ControlUse {
        ControlUse { name: "c".to_owned(), image: "inputs/c".to_owned(), weight: 1.0, start: 0.0, end: 1.0 }
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
    fn samplers_that_run_the_denoiser_twice_cost_twice() {
        for sampler in Sampler::ALL {
            let twice = matches!(sampler, Sampler::Heun | Sampler::DpmppSde | Sampler::DpmppSdeKarras);
            let cost = price_with(512, 512, 20, |request| request.sampler = Some(sampler));
            assert_eq!(cost, if twice { 2_000 } else { 1_000 }, "{sampler:?}");
        }
    }

    #[test]
    fn a_picture_to_start_from_costs_the_share_that_is_redrawn() {
        let init = |strength| {
            move |request: &mut GenerationRequest| {
                request.init = Some(InitImage { image: "inputs/i".to_owned(), strength, mask: None });
            }
        };
        assert_eq!(price_with(512, 512, 20, init(1.0)), 1_000);
        assert_eq!(price_with(512, 512, 20, init(0.8)), 800);
        // 0.29 of 20 steps is 5.8: five steps are taken.
        assert_eq!(price_with(512, 512, 20, init(0.29)), 250);
        assert_eq!(price_with(512, 512, 20, init(0.0)), 10, "the floor");
    }

    #[test]
    fn a_second_pass_costs_its_own_pixels_and_share() {
        let hires = |request: &mut GenerationRequest| {
            request.hires = Some(Hires { width: 1024, height: 1024, strength: 0.5 });
        };
        assert_eq!(price_with(512, 512, 20, hires), 1_000 + 4 * 500);
    }

    #[test]
    fn each_controlnet_costs_half_a_denoiser_and_a_lora_nothing() {
        assert_eq!(price_with(512, 512, 20, |request| request.controls = vec![control()]), 1_500);
        assert_eq!(price_with(512, 512, 20, |request| request.controls = vec![control(); 2]), 2_000);
        let lora = LoraUse { name: "l".to_owned(), weight: 1.0 };
        assert_eq!(price_with(512, 512, 20, |request| request.loras = vec![lora; 3]), 1_000);
    }

    #[test]
    fn pictures_that_were_not_made_are_not_charged() {
        assert_eq!([0, 1, 2, 3, 4].map(|made| charge(4_000, made, 4)), [0, 1_000, 2_000, 3_000, 4_000]);
        assert_eq!([0, 1, 2, 3].map(|made| charge(100, made, 3)), [0, 33, 66, 100], "fractions are the user's");
        assert_eq!(charge(100, 5, 4), 100, "never more than the price");
    }

    #[test]
    fn the_largest_request_has_a_price_the_ledger_takes() {
        let largest = price_with(SIDE_PX_MAX, SIDE_PX_MAX, STEPS_MAX, |request| {
            request.images = Some(IMAGES_MAX);
            request.sampler = Some(Sampler::Heun);
            request.controls = vec![control(); CONTROLS_MAX as usize];
            request.hires = Some(Hires { width: SIDE_PX_MAX, height: SIDE_PX_MAX, strength: 1.0 });
        });
        // 1,200 credits of plain work, twice for the sampler, three times for the ControlNets, twice for the passes.
        assert_eq!(largest, 14_400_000);
        assert!(largest < AMOUNT_MAX);
    }
}
