//! exp, erf and what is made of them, as straight-line arithmetic that the compiler turns into vector code. Each is
//! within a few units in the last place of the exact value; NaN stays NaN.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use super::level::fma;

/// Below this exp is taken for 0: it is smaller than the smallest normal number.
const EXP_MIN: f32 = -87.336_54;
/// From here on exp is taken for infinity (it is 3.4e38 at 88.72).
const EXP_MAX: f32 = 88.376_26;
/// Adding this rounds a number below 2^22 to a whole one, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: the first has so few bits that whole multiples of it are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// The series of exp within half of ln 2 around 0, highest power first, down to the square (the factors are those of
/// Moshier's Cephes library).
const EXP_SERIES: [f32; 6] = [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// erf is this over the next, in the square of x, times x, up to [`ERF_ONE`]: a least-squares fit to 2e-8.
const ERF_ABOVE: [f32; 6] =
    [std::f32::consts::FRAC_2_SQRT_PI, 0.189_665_84, 5.266_795_3e-2, 3.738_303e-3, 2.850_611_3e-4, 2.066_480_2e-6];
const ERF_BELOW: [f32; 6] = [1.0, 0.501_419_8, 0.113_818_55, 1.491_419_2e-2, 1.157_365_4e-3, 3.827_003_5e-5];
/// From here on erf is 1 to the last bit.
const ERF_ONE: f32 = 3.9;

/// e to the power of x, which is not above 0.
#[inline(always)]
pub(super) fn exp_down<const FUSED: bool>(x: f32) -> f32 {
    let value = exp_inside::<FUSED>(if x < EXP_MIN { EXP_MIN } else { x });
    if x < EXP_MIN { 0.0 } else { value }
}

/// The same for callers to whom the smallest normal number is as good as 0 and 2.4e38 as good as infinity.
#[inline(always)]
fn exp_bounded<const FUSED: bool>(x: f32) -> f32 {
    let bounded = if x > EXP_MAX { EXP_MAX } else { x };
    exp_inside::<FUSED>(if bounded < EXP_MIN { EXP_MIN } else { bounded })
}

/// The same of numbers whose exponential is a normal number.
#[inline(always)]
fn exp_inside<const FUSED: bool>(x: f32) -> f32 {
    let shifted = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = fma::<FUSED>(-whole, LN_2_LOW, fma::<FUSED>(-whole, LN_2_HIGH, x));
    let mut sum = 0.0;
    for factor in EXP_SERIES {
        sum = fma::<FUSED>(sum, rest, factor);
    }
    let power = fma::<FUSED>(sum, rest * rest, rest + 1.0);
    // The whole part goes into the exponent's bits.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    power * scale
}

/// The error function.
#[inline(always)]
pub(super) fn erf<const FUSED: bool>(x: f32) -> f32 {
    let x = if x > ERF_ONE { ERF_ONE } else { x };
    let x = if x < -ERF_ONE { -ERF_ONE } else { x };
    let square = x * x;
    x * polynomial::<FUSED>(square, &ERF_ABOVE) / polynomial::<FUSED>(square, &ERF_BELOW)
}

#[inline(always)]
fn polynomial<const FUSED: bool>(x: f32, factors: &[f32; 6]) -> f32 {
    factors.iter().rev().fold(0.0, |sum, factor| fma::<FUSED>(sum, x, *factor))
}

/// `x * sigmoid(scale * x)`: SiLU where `scale` is 1, OpenAI's quick gelu where it is 1.702.
#[inline(always)]
pub(super) fn swish<const FUSED: bool>(x: f32, scale: f32) -> f32 {
    x / (1.0 + exp_bounded::<FUSED>(-scale * x))
}

/// Gelu by the error function, as torch's default.
#[inline(always)]
pub(super) fn gelu<const FUSED: bool>(x: f32) -> f32 {
    0.5 * x * (1.0 + erf::<FUSED>(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::{Level, Loops, run};

    struct Each<'a>(&'a [f32], fn(f64) -> f64, Which);

    #[derive(Clone, Copy)]
    enum Which {
        Exp,
        Erf,
        Silu,
        Gelu,
    }

    impl Loops for Each<'_> {
        type Output = f64;

        #[inline(always)]
        fn run<const FUSED: bool>(self) -> f64 {
            let Self(points, exact, which) = self;
            let ours = |x: f32| match which {
                Which::Exp => exp_bounded::<FUSED>(x),
                Which::Erf => erf::<FUSED>(x),
                Which::Silu => swish::<FUSED>(x, 1.0),
                Which::Gelu => gelu::<FUSED>(x),
            };
            let off = |x: f32| (f64::from(ours(x)) - exact(f64::from(x))).abs() / exact(f64::from(x)).abs().max(1.0);
            points.iter().map(|x| off(*x)).fold(0.0, f64::max)
        }
    }

    #[test]
    fn every_level_agrees_with_double_precision() {
        let points: Vec<f32> = (-100_000..100_000).map(|step| step as f32 * 1e-4).collect();
        for level in Level::all() {
            for (which, exact) in [
                (Which::Exp, f64::exp as fn(f64) -> f64),
                (Which::Erf, exact_erf),
                (Which::Silu, |x| x / (1.0 + (-x).exp())),
                (Which::Gelu, |x| 0.5 * x * (1.0 + exact_erf(x / std::f64::consts::SQRT_2))),
            ] {
                let off = run(*level, Each(&points, exact, which));
                assert!(off < 1e-6, "{level:?}: off by {off:e}");
            }
        }
    }

    #[test]
    fn the_ends_are_what_they_should_be() {
        for not_a_number in
            [exp_down::<true>, swish_one, erf::<true>, gelu::<true>].map(|f: fn(f32) -> f32| f(f32::NAN))
        {
            assert!(not_a_number.is_nan());
        }
        for (x, expected) in [(f32::NEG_INFINITY, 0.0_f32), (-88.0, 0.0), (f32::MIN, 0.0), (0.0, 1.0)] {
            assert_eq!(exp_down::<true>(x).to_bits(), expected.to_bits(), "{x}");
        }
        for (x, expected) in [(-1e30, -1.0), (1e30, 1.0)] {
            assert!((erf::<true>(x) - expected).abs() < 1e-6, "{x}");
        }
        assert!(swish_one(-200.0).abs() < 1e-30);
        assert_eq!(swish_one(200.0).to_bits(), 200.0_f32.to_bits());
    }

    fn swish_one(x: f32) -> f32 {
        swish::<true>(x, 1.0)
    }

    /// erf by its series, exact enough below 4.
    fn exact_erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }
}
