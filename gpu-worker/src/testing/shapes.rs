//! Reads a picture of the model `tintype/shapes`: which shape, in which colour, on which ground. It looks at pixels and
//! knows nothing of how they were made.

use std::io::Cursor;

use crate::output::RgbImage;

/// The colours the model was taught, by the words of its captions.
pub const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [220, 30, 30]),
    ("green", [30, 160, 50]),
    ("blue", [40, 70, 220]),
    ("yellow", [240, 215, 40]),
    ("purple", [140, 50, 180]),
    ("orange", [245, 135, 25]),
    ("white", [245, 245, 245]),
    ("black", [15, 15, 15]),
];
/// The shapes it was taught.
pub const SHAPES: [&str; 6] = ["circle", "square", "triangle", "ring", "cross", "star"];
/// Distance in RGB from the ground's colour at which a pixel belongs to the shape.
pub(super) const APART: f64 = 90.0;
/// Fewest pixels that are a shape.
const PIXELS_MIN: usize = 20;
/// Rows and columns at each edge that are taken for ground.
pub(super) const BORDER: usize = 2;
/// A shape is drawn at this many points a pixel, each way.
const POINTS: usize = 4;

/// What a picture shows, in the words of the captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Colour of the ground.
    pub ground: &'static str,
    /// Colour of the shape, if there is one.
    pub colour: Option<&'static str>,
    /// The shape, if there is one.
    pub shape: Option<&'static str>,
}

/// What a picture should show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Colour of the shape.
    pub colour: &'a str,
    /// The shape.
    pub shape: &'a str,
    /// Colour of the ground.
    pub ground: &'a str,
}

/// Which parts are as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches {
    /// Colour of the shape.
    pub colour: bool,
    /// The shape.
    pub shape: bool,
    /// Colour of the ground.
    pub ground: bool,
}

impl Matches {
    /// Whether every part is.
    pub fn all(self) -> bool {
        self.colour && self.shape && self.ground
    }
}

/// Compares a picture with what it should show.
pub fn check(image: &RgbImage, expected: Expected<'_>) -> Matches {
    let seen = look(image);
    Matches {
        colour: seen.colour == Some(expected.colour),
        shape: seen.shape == Some(expected.shape),
        ground: seen.ground == expected.ground,
    }
}

/// Decodes an 8-bit RGB PNG; none if it is anything else.
pub fn decode_png(bytes: &[u8]) -> Option<RgbImage> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut pixels).ok()?;
    let rgb = frame.color_type == png::ColorType::Rgb && frame.bit_depth == png::BitDepth::Eight;
    rgb.then_some(RgbImage { width: frame.width, height: frame.height, pixels })
}

/// Says what a picture shows.
pub fn look(image: &RgbImage) -> Seen {
    let (width, height) = (image.width as usize, image.height as usize);
    let pixels: &[[u8; 3]] = image.pixels.as_chunks().0;
    let labels: Vec<usize> = pixels.iter().map(|pixel| nearest(*pixel)).collect();
    let at_edge = |at: usize| {
        let (x, y) = (at % width, at / width);
        x < BORDER || y < BORDER || x + BORDER >= width || y + BORDER >= height
    };
    let ground = most(labels.iter().enumerate().filter(|(at, _)| at_edge(*at)).map(|(_, label)| *label));
    let own: Vec<[u8; 3]> = pixels.iter().zip(&labels).filter(|(_, l)| **l == ground).map(|(p, _)| *p).collect();
    let middle = [0, 1, 2].map(|channel| median(own.iter().map(|pixel| pixel[channel]).collect()));
    let mask: Vec<bool> = pixels.iter().map(|pixel| distance(*pixel, middle).sqrt() > APART).collect();
    let ground_name = COLOURS[ground].0;
    if mask.iter().filter(|inside| **inside).count() < PIXELS_MIN {
        return Seen { ground: ground_name, colour: None, shape: None };
    }
    let of_shape = labels.iter().zip(&mask).filter(|(label, inside)| **inside && **label != ground);
    let colour = most(of_shape.map(|(label, _)| *label));
    Seen { ground: ground_name, colour: Some(COLOURS[colour].0), shape: Some(best_shape(&mask, width)) }
}

/// The shape that, drawn where the mask lies, overlaps it best.
fn best_shape(mask: &[bool], width: usize) -> &'static str {
    let inside = || mask.iter().enumerate().filter(|(_, inside)| **inside).map(|(at, _)| (at % width, at / width));
    let bounds =
        |values: Vec<usize>| (values.iter().copied().min().unwrap_or(0), values.iter().copied().max().unwrap_or(0));
    let (left, right) = bounds(inside().map(|(x, _)| x).collect());
    let (top, bottom) = bounds(inside().map(|(_, y)| y).collect());
    let (cx, cy) = ((left + right) as f64 / 2.0 + 0.5, (top + bottom) as f64 / 2.0 + 0.5);
    let radius = (right - left).max(bottom - top) as f64 / 2.0 + 0.5;
    let mut best = (-1.0, SHAPES[0]);
    for shape in SHAPES {
        for scale in [0.92, 1.0, 1.08, 1.17] {
            for lower in [-2.0, 0.0, 2.0, 4.0] {
                let drawn = draw(shape, (cx, cy + lower), radius * scale, (width, mask.len() / width));
                let both = mask.iter().zip(&drawn).filter(|(a, b)| **a && **b).count();
                let either = mask.iter().zip(&drawn).filter(|(a, b)| **a || **b).count();
                let overlap = both as f64 / either.max(1) as f64;
                if overlap > best.0 {
                    best = (overlap, shape);
                }
            }
        }
    }
    best.1
}

/// Pixels at least half covered by a shape.
pub fn draw(shape: &str, (cx, cy): (f64, f64), radius: f64, (width, height): (usize, usize)) -> Vec<bool> {
    let covers = outline(shape, radius);
    let offset = |point: usize| (point as f64 + 0.5) / POINTS as f64;
    (0..width * height)
        .map(|at| {
            let (x, y) = ((at % width) as f64 - cx, (at / width) as f64 - cy);
            let reach = radius * 1.5 + 2.0;
            if x.abs() > reach || y.abs() > reach {
                return false;
            }
            let covered = (0..POINTS * POINTS)
                .filter(|point| covers(x + offset(point % POINTS), y + offset(point / POINTS)))
                .count();
            covered * 2 > POINTS * POINTS
        })
        .collect()
}

/// Whether a point, from the centre, lies in a shape. The proportions are those of the training pictures.
fn outline(shape: &str, radius: f64) -> Box<dyn Fn(f64, f64) -> bool> {
    let r = radius;
    let within = |x: f64, y: f64, side_x: f64, side_y: f64| x.abs() <= side_x && y.abs() <= side_y;
    match shape {
        "circle" => Box::new(move |x, y| x * x + y * y <= r * r),
        "square" => Box::new(move |x, y| within(x, y, r * 0.86, r * 0.86)),
        "triangle" => {
            let corners = vec![(0.0, -r), (-r * 0.95, r * 0.75), (r * 0.95, r * 0.75)];
            Box::new(move |x, y| in_polygon(&corners, x, y))
        }
        "ring" => Box::new(move |x, y| (r * r * 0.55 * 0.55..=r * r).contains(&(x * x + y * y))),
        "cross" => Box::new(move |x, y| within(x, y, r, r * 0.34) || within(x, y, r * 0.34, r)),
        "star" => {
            let corner = |index: usize| {
                let angle = std::f64::consts::PI * (index as f64 / 5.0 - 0.5);
                let reach = if index.is_multiple_of(2) { r } else { r * 0.45 };
                (reach * angle.cos(), reach * angle.sin())
            };
            let corners: Vec<_> = (0..10).map(corner).collect();
            Box::new(move |x, y| in_polygon(&corners, x, y))
        }
        _ => Box::new(|_, _| false),
    }
}

fn in_polygon(corners: &[(f64, f64)], x: f64, y: f64) -> bool {
    let mut inside = false;
    let (mut x1, mut y1) = corners[corners.len() - 1];
    for &(x2, y2) in corners {
        if (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
            inside = !inside;
        }
        (x1, y1) = (x2, y2);
    }
    inside
}

fn nearest(pixel: [u8; 3]) -> usize {
    let far = |index: &usize| distance(pixel, COLOURS[*index].1);
    (0..COLOURS.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
}

pub(super) fn distance(a: [u8; 3], b: [u8; 3]) -> f64 {
    a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

fn most(labels: impl Iterator<Item = usize>) -> usize {
    let mut counts = [0_usize; COLOURS.len()];
    labels.for_each(|label| counts[label] += 1);
    (0..counts.len()).rev().max_by_key(|label| counts[*label]).unwrap_or(0)
}

fn median(mut values: Vec<u8>) -> u8 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_drawings_are_read_right() {
        for (index, shape) in SHAPES.iter().enumerate() {
            for (colour, ground) in [(0, 2), (2, 6), (6, 7), (1, 6), (7, 3)] {
                let place = (26.0 + index as f64, 38.0 - index as f64);
                let seen = look(&paint(shape, place, 19.0, (COLOURS[colour].1, COLOURS[ground].1)));
                let expected = Seen { ground: COLOURS[ground].0, colour: Some(COLOURS[colour].0), shape: Some(shape) };
                assert_eq!(seen, expected);
            }
        }
    }

    #[test]
    fn an_empty_ground_has_no_shape_and_matches_nothing_else() {
        let image = paint("none", (32.0, 32.0), 20.0, ([0; 3], COLOURS[1].1));
        assert_eq!(look(&image), Seen { ground: "green", colour: None, shape: None });
        let matches = check(&image, Expected { colour: "red", shape: "circle", ground: "green" });
        assert_eq!(matches, Matches { colour: false, shape: false, ground: true });
        assert!(!matches.all());
    }

    fn paint(shape: &str, place: (f64, f64), radius: f64, (colour, ground): ([u8; 3], [u8; 3])) -> RgbImage {
        let mask = draw(shape, place, radius, (64, 64));
        let pixels = mask.iter().flat_map(|inside| if *inside { colour } else { ground }).collect();
        RgbImage { width: 64, height: 64, pixels }
    }
}
