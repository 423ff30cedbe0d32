//! Quantiles of the beta distribution with both parameters 0.6, for the noise levels named after it.

/// Both parameters.
const SHAPE: f64 = 0.6;
/// The beta function at (0.6, 0.6): `gamma(0.6)^2 / gamma(1.2)`.
const BETA: f64 = 1.489_192_248_812_817 * 1.489_192_248_812_817 / 0.918_168_742_399_760_6;
/// Halvings of the interval in search of a quantile: past the last bit of a double.
const HALVINGS: usize = 64;
/// Most terms of the continued fraction; some twenty are enough for these parameters.
const TERMS_MAX: u32 = 200;

/// The value below which a share of the distribution lies.
pub(super) fn quantile(share: f64) -> f64 {
    // The distribution is symmetric, and near 0 a double is finest.
    if share > 0.5 {
        return 1.0 - quantile(1.0 - share);
    }
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if below(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    if share <= 0.0 { 0.0 } else { f64::midpoint(low, high) }
}

/// The share below a value of at most 1/2, by the continued fraction (Numerical Recipes, 6.4).
fn below(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let (a, b) = (SHAPE, SHAPE);
    let mut c = 1.0;
    let mut d = 1.0 / (1.0 - (a + b) * x / (a + 1.0));
    let mut sum = d;
    for term in 1..=TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / (1.0 + even * d);
        c = 1.0 + even / c;
        sum *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / (1.0 + odd * d);
        c = 1.0 + odd / c;
        sum *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (x.powf(a) * (1.0 - x).powf(b) / (a * BETA)) * sum
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_scipys() {
        // `scipy.stats.beta.ppf(share, 0.6, 0.6)`.
        assert_eq!((quantile(0.0), quantile(1.0)), (0.0, 1.0));
        assert!((quantile(0.5) - 0.5).abs() < 1e-12);
        for share in [0.01, 0.2, 0.45] {
            assert!((quantile(share) + quantile(1.0 - share) - 1.0).abs() < 1e-12);
        }
    }
}
