//! From pixels to the file that is uploaded: PNG, WebP or JPEG, with what made it written inside and who vouches for it.
//!
//! `encode` gives the same bytes for the same picture and request: no time, no random part. A mark (`c2pa`) has both.

mod args;
pub mod c2pa;
mod embed;
mod exif;
mod jpeg;
mod parameters;
mod png;
mod publisher;
#[cfg(test)]
mod tests;
mod webp;
mod xmp;

pub use args::{Marking, OutputArgs};
pub use parameters::parameters_text;
pub use publisher::{PictureFile, PublishError, Publisher};

use tintype_types::{ImageFormat, ResolvedRequest};

use embed::Embedded;

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

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Width, height and bytes do not agree, or a side is more than the format can say.
    #[error("the picture's sizes do not agree with its bytes")]
    Size,
    /// The PNG encoder's own.
    #[error("the picture could not be written as PNG")]
    Png(#[from] ::png::EncodingError),
    /// The WebP encoder's own.
    #[error("the picture could not be written as WebP")]
    Webp(#[from] image_webp::EncodingError),
    /// The JPEG encoder's own.
    #[error("the picture could not be written as JPEG")]
    Jpeg(#[from] jpeg_encoder::EncodingError),
}

/// A PNG of the pixels and nothing else.
///
/// # Errors
/// A picture whose sizes and bytes do not agree.
pub(crate) fn encode_bare_png(image: &RgbImage) -> Result<Vec<u8>, ::png::EncodingError> {
    png::encode(image, &Embedded::default())
}

/// Writes a picture in the format the request names. Always inside: an XMP packet that says an algorithm made it. With
/// `embed_parameters` also A1111's `parameters` text and our JSON, each where the format's readers look for it:
///
/// | | `parameters` | JSON | XMP |
/// |---|---|---|---|
/// | PNG | `parameters` tEXt, or iTXt where Latin-1 does not do | `tintype` iTXt | `XML:com.adobe.xmp` iTXt |
/// | JPEG | EXIF UserComment | `tintype:request` in the XMP | APP1 |
/// | WebP | EXIF UserComment | `tintype:request` in the XMP | `XMP ` chunk |
///
/// # Errors
/// A picture whose sizes and bytes do not agree.
pub fn encode(image: &RgbImage, request: &ResolvedRequest, seed: u64) -> Result<Vec<u8>, EncodeError> {
    let bytes = u64::from(image.width) * u64::from(image.height) * 3;
    if bytes == 0 || bytes != image.pixels.len() as u64 {
        return Err(EncodeError::Size);
    }
    let embedded = Embedded::new(request, seed);
    match request.format {
        ImageFormat::Png => Ok(png::encode(image, &embedded)?),
        ImageFormat::Webp => webp::encode(image, &embedded),
        ImageFormat::Jpeg => jpeg::encode(image, &embedded),
    }
}
