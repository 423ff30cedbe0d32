//! What a job costs: a pure function of what it asks for.
//!
//! One credit is one picture of 512 x 512 pixels in 20 evaluations of the denoiser; work is linear in pixels, evaluations
//! and pictures, and each model may have a factor. Rounded up to a whole milli-credit, never below
//! [`Tariff::image_floor_millis`] a picture. docs/PRICES.md says the same to users.
//!
//! A tariff has a name made of all it says: whoever was quoted by one and names it is charged by it.

use std::collections::BTreeMap;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use sha2::{Digest as _, Sha256};
use tintype_types::ResolvedRequest;

use crate::ledger::{AMOUNT_MAX, MILLI_PER_CREDIT};

/// A strength of 1, in thousandths.
const WHOLE: u128 = 1_000;
/// A denoiser has two halves: the way down with the middle, and the way up.
const DENOISER_HALVES: u128 = 2;
/// What each ControlNet adds to every evaluation: it is a copy of the way down with the middle.
const CONTROL_HALVES: u128 = 1;

/// What a factor of 1 is, in thousandths.
const FACTOR_ONE: u32 = 1_000;
/// The largest factor, in thousandths.
const FACTOR_MAX: u32 = 1_000 * FACTOR_ONE;
/// Models that may have a factor of their own.
const MODELS_MAX: usize = 1_000;
/// Hex digits of a tariff's name.
const NAME_DIGITS: usize = 12;

/// How work is priced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tariff {
    /// Pixels times evaluations that cost one credit.
    pub pixel_evaluations_per_credit: u64,
    /// The least a picture costs, in milli-credits: claim, upload and storage are not free either.
    pub image_floor_millis: i64,
    /// Models whose work costs more or less than others', by the name they are asked for by.
    #[serde(default)]
    pub models: BTreeMap<String, Factor>,
    /// The factor of all other models; null: a model without one of its own has no price, and is refused.
    #[serde(default = "one")]
    pub otherwise: Option<Factor>,
}

/// How many times as much as plain work something costs: from 0 to 1,000, in steps of a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Number", into = "Number")]
pub struct Factor(u32);

impl TryFrom<Number> for Factor {
    type Error = String;

    /// Read as it is written, for a price knows no rounding.
    fn try_from(times: Number) -> Result<Self, String> {
        let text = times.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let decimals = decimals.trim_end_matches('0');
        let digits = whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit());
        let thousandths =
            if digits && decimals.len() <= 3 { format!("{whole}{decimals:0<3}").parse().ok() } else { None };
        let factor = thousandths.filter(|thousandths| *thousandths <= FACTOR_MAX).map(Self);
        factor.ok_or_else(|| format!("{times} is no factor: 0 to 1000 with at most three decimals"))
    }
}

impl From<Factor> for Number {
    fn from(Factor(thousandths): Factor) -> Self {
        let (whole, rest) = (thousandths / FACTOR_ONE, thousandths % FACTOR_ONE);
        // A number of a point and three digits is one.
        if rest == 0 { whole.into() } else { format!("{whole}.{rest:03}").parse().unwrap_or_else(|_| whole.into()) }
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0, "maximum": 1_000 })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for a field that may be null")]
fn one() -> Option<Factor> {
    Some(Factor(FACTOR_ONE))
}

impl Default for Tariff {
    fn default() -> Self {
        Self {
            pixel_evaluations_per_credit: 512 * 512 * 20,
            image_floor_millis: 10,
            models: BTreeMap::new(),
            otherwise: one(),
        }
    }
}

impl Tariff {
    /// What quotes call it: two of one name price everything the same.
    pub fn name(&self) -> String {
        // Its fields have one order, its models another: the same tariff is the same text. Writing it cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = hex::encode(Sha256::digest(text));
        format!("t-{}", &digest[..NAME_DIGITS])
    }

    /// Whether anybody could be charged by it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> anyhow::Result<()> {
        let per_credit = self.pixel_evaluations_per_credit;
        ensure!((1..=1 << 40).contains(&per_credit), "pixelEvaluationsPerCredit is {per_credit}, of 1 to 2^40");
        let floor = self.image_floor_millis;
        ensure!((0..=1_000_000).contains(&floor), "imageFloorMillis is {floor}, of 0 to 1,000,000");
        ensure!(self.models.len() <= MODELS_MAX, "at most {MODELS_MAX} models have a factor of their own");
        let nameless = self.models.keys().find(|name| !(1..=253).contains(&name.len()));
        ensure!(nameless.is_none(), "a model's name has 1 to 253 bytes");
        Ok(())
    }

    /// The price of a request in milli-credits. Limits on a request keep every product far inside 128 bits, and the price is
    /// never more than the ledger takes.
    ///
    /// # Errors
    /// The model has no price.
    pub fn price(&self, request: &ResolvedRequest) -> Result<i64, Unpriced> {
        let factor = self.models.get(&request.model).copied().or(self.otherwise).ok_or(Unpriced)?;
        let share = request.init.as_ref().map_or(WHOLE, |init| u128::from(init.strength_millis()));
        let first = pixel_evaluations(request, (request.width, request.height), share);
        let second = request.hires.map_or(0, |hires| {
            pixel_evaluations(request, (hires.width, hires.height), u128::from(hires.strength_millis()))
        });
        let halves = DENOISER_HALVES + CONTROL_HALVES * request.controls.len() as u128;
        let work = (first + second) * halves * u128::from(request.images) * u128::from(MILLI_PER_CREDIT.unsigned_abs());
        let per_credit = u128::from(self.pixel_evaluations_per_credit.max(1)) * DENOISER_HALVES;
        let price = (work * u128::from(factor.0)).div_ceil(per_credit * u128::from(FACTOR_ONE));
        let floor = self.image_floor_millis.saturating_mul(i64::from(request.images)).max(1);
        Ok(i64::try_from(price).unwrap_or(i64::MAX).max(floor).min(AMOUNT_MAX))
    }
}

/// A model has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this model has no price here, so nothing is made with it; take another, or ask whoever runs this server to price it"
)]
pub struct Unpriced;

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

    fn price(width: u32, height: u32, steps: u32, images: u32) -> i64 {
        price_with(width, height, steps, |request| request.images = Some(images))
    }

    fn price_with(width: u32, height: u32, steps: u32, change: impl FnOnce(&mut GenerationRequest)) -> i64 {
        let defaults = ModelDefaults { width, height, steps, guidance_scale: 7.5, sampler: Sampler::Euler };
        let mut request = GenerationRequest::new("m", "p");
        change(&mut request);
        Tariff::default().price(&request.resolve(&defaults, 0)).unwrap()
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
    fn a_model_may_cost_more_or_less_and_one_without_a_price_is_refused() {
        let tariff: Tariff = serde_json::from_str(
            r#"{ "pixelEvaluationsPerCredit": 5242880, "imageFloorMillis": 10, "models": { "large": 2.5, "free": 0 }, "otherwise": null }"#,
        )
        .unwrap();
        let of = |tariff: &Tariff, model: &str| {
            let defaults =
                ModelDefaults { width: 512, height: 512, steps: 20, guidance_scale: 7.5, sampler: Sampler::Euler };
            tariff.price(&GenerationRequest::new(model, "p").resolve(&defaults, 0))
        };
        assert_eq!((of(&tariff, "large"), of(&tariff, "free"), of(&tariff, "m")), (Ok(2_500), Ok(10), Err(Unpriced)));
        let open = Tariff { otherwise: one(), ..tariff.clone() };
        assert_eq!((of(&open, "large"), of(&open, "m")), (Ok(2_500), Ok(1_000)));
        assert!(open.name() != tariff.name() && open.name() == open.clone().name());
        let again: Tariff = serde_json::from_value(serde_json::to_value(&tariff).unwrap()).unwrap();
        assert_eq!(again.name(), tariff.name());
    }

    #[test]
    fn a_tariff_nobody_could_be_charged_by_is_refused() {
        let read = |change: &str| {
            let text = format!(r#"{{ "pixelEvaluationsPerCredit": 1, "imageFloorMillis": 1, {change} }}"#);
            serde_json::from_str::<Tariff>(&text).map_err(anyhow::Error::from).and_then(|tariff| tariff.check())
        };
        for right in ["0", "0.001", "1.125", "2.50", "1000", "1000.000"] {
            assert!(read(&format!(r#""models": {{ "m": {right} }}"#)).is_ok(), "{right}");
        }
        assert!(read(r#""models": { "m": 1e2 }"#).is_ok(), "a hundred");
        for wrong in [
            r#""models": { "m": -1 }"#,
            r#""models": { "m": 1.0001 }"#,
            r#""models": { "m": 1000.001 }"#,
            r#""models": { "m": 1e-7 }"#,
            r#""models": { "": 1 }"#,
            r#""floor": 1"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Tariff { pixel_evaluations_per_credit: 0, ..Tariff::default() }.check().is_err());
        assert!(Tariff { image_floor_millis: -1, ..Tariff::default() }.check().is_err());
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
