//! Whether a picture follows a hint: where its shape lies, against where the hint has it.

use super::shapes::{APART, BORDER, distance};
use crate::output::RgbImage;

/// The colour of the ground: the median of the outermost rows and columns, each channel by itself.
pub fn ground(image: &RgbImage) -> [u8; 3] {
    let (width, height) = (image.width as usize, image.height as usize);
    let pixels: &[[u8; 3]] = image.pixels.as_chunks().0;
    let at_edge = |at: usize| {
        let (x, y) = (at % width, at / width);
        x < BORDER || y < BORDER || x + BORDER >= width || y + BORDER >= height
    };
    let edge: Vec<[u8; 3]> =
        pixels.iter().enumerate().filter(|(at, _)| at_edge(*at)).map(|(_, pixel)| *pixel).collect();
    [0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = edge.iter().map(|pixel| pixel[channel]).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    })
}

/// Which pixels belong to the shape: those of another colour than the ground.
pub fn shape(image: &RgbImage) -> Vec<bool> {
    let ground = ground(image);
    let pixels: &[[u8; 3]] = image.pixels.as_chunks().0;
    pixels.iter().map(|pixel| distance(*pixel, ground).sqrt() > APART).collect()
}

/// Intersection over union of two shapes.
pub fn overlap(a: &[bool], b: &[bool]) -> f64 {
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    let either = a.iter().zip(b).filter(|(a, b)| **a || **b).count();
    both as f64 / either.max(1) as f64
}

/// How far the middles of two shapes are apart, in pixels; without end where there is none.
pub fn apart(a: &[bool], b: &[bool], width: usize) -> f64 {
    match (middle(a, width), middle(b, width)) {
        (Some(a), Some(b)) => (a.0 - b.0).hypot(a.1 - b.1),
        (_, _) => f64::INFINITY,
    }
}

/// A hint: the shape white on black.
pub fn hint(shape: &[bool], width: usize) -> RgbImage {
    let pixels = shape.iter().flat_map(|inside| [if *inside { 255 } else { 0 }; 3]).collect();
    RgbImage { width: width as u32, height: (shape.len() / width) as u32, pixels }
}

fn middle(shape: &[bool], width: usize) -> Option<(f64, f64)> {
    let inside: Vec<usize> = shape.iter().enumerate().filter(|(_, inside)| **inside).map(|(at, _)| at).collect();
    let count = inside.len() as f64;
    let sum = |part: fn(usize, usize) -> usize| inside.iter().map(|at| part(*at, width) as f64).sum::<f64>();
    (!inside.is_empty()).then(|| (sum(|at, width| at % width) / count, sum(|at, width| at / width) / count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shapes::draw;

    #[test]
    fn a_moved_shape_is_measured_as_moved() {
        let square = |x, y| draw("square", (x, y), 10.0, (64, 64));
        let (there, here) = (square(20.0, 20.0), square(24.0, 23.0));
        assert_eq!(shape(&hint(&there, 64)), there);
        assert_eq!(ground(&hint(&there, 64)), [0; 3]);
        assert!((apart(&there, &here, 64) - 5.0).abs() < 0.1);
        assert!((overlap(&there, &there) - 1.0).abs() < 1e-9 && (0.3..0.6).contains(&overlap(&there, &here)));
        assert!(apart(&there, &[false; 4_096], 64).is_infinite());
    }
}
