//! Is the picture right? Colour, shape and ground are read from its pixels.

use tintype_worker::testing::shapes::{Expected, check, decode_png, look};

/// What a picture must show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Colour of the shape.
    pub(crate) colour: &'static str,
    /// The shape.
    pub(crate) shape: &'static str,
    /// Colour of the ground.
    pub(crate) ground: &'static str,
}

/// Panics unless the PNG shows it.
pub(crate) fn assert_shows(png: &[u8], shown: Shown) {
    let image = decode_png(png).expect("the file is a PNG");
    let Shown { colour, shape, ground } = shown;
    let matches = check(&image, Expected { colour, shape, ground });
    assert!(matches.all(), "the picture should show {shown:?} but shows {:?}", look(&image));
}
