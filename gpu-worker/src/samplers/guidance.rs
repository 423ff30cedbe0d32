//! Classifier-free guidance, and keeping it from over-exposing.

/// Classifier-free guidance (Ho and Salimans, 2022): from what the negative prompt says towards what the prompt says,
/// `scale` times the way.
pub fn guide(without: &[f32], with: &[f32], scale: f32) -> Vec<f32> {
    without.iter().zip(with).map(|(without, with)| without + scale * (with - without)).collect()
}

/// Brings guided output back to the spread of what the prompt alone says (Lin et al., 2023, equations 15 and 16), by the
/// share `rescale` of the way: 0 changes nothing. As diffusers' `rescale_noise_cfg`, on one sample.
pub fn rescale(guided: &mut [f32], with: &[f32], rescale: f32) {
    let spread = deviation(guided);
    // A flat output has no spread to bring back.
    if rescale <= 0.0 || spread <= 0.0 {
        return;
    }
    let factor = f64::from(rescale) * deviation(with) / spread + (1.0 - f64::from(rescale));
    for value in guided {
        *value = (f64::from(*value) * factor) as f32;
    }
}

/// Standard deviation, over all values but one as torch's `std` has it.
fn deviation(values: &[f32]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_is_diffusers() {
        // Printed by diffusers 0.42.1: `rescale_noise_cfg(guided, with, 0.7)` for these two.
        let (without, with) = ([0.5, -1.0, 2.0, 0.25], [1.0, -2.0, 0.5, 0.75]);
        let mut guided = guide(&without, &with, 3.0);
        assert_eq!(guided, [2.0, -4.0, -2.5, 1.75]);
        rescale(&mut guided, &with, 0.7);
        for (got, wanted) in guided.iter().zip([1.2437, -2.4874, -1.5546, 1.0882]) {
            assert!((got - wanted).abs() < 1e-4, "{guided:?}");
        }
    }

    #[test]
    fn none_changes_nothing_and_flat_output_stays() {
        let mut guided = vec![1.0, 2.0, 4.0];
        rescale(&mut guided, &[1.0, 1.5, 2.0], 0.0);
        assert_eq!(guided, [1.0, 2.0, 4.0]);
        let mut flat = vec![3.0; 4];
        rescale(&mut flat, &[1.0, 2.0, 3.0, 4.0], 1.0);
        assert_eq!(flat, [3.0; 4]);
        rescale(&mut guided, &[5.0, 5.0, 5.0], 1.0);
        assert_eq!(guided, [0.0; 3]);
    }
}
