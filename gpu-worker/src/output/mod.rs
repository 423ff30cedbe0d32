//! From pixels to the file that is uploaded.

mod parameters;
mod png;

pub use parameters::parameters_text;
pub use png::{EncodeError, encode_png};

/// A picture: RGB, three bytes a pixel, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub pixels: Vec<u8>,
}
