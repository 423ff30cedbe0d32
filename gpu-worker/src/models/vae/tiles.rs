//! Large pictures in overlapping tiles, so that memory does not grow with them: tiles overlap by a quarter and fade into
//! each other, cut and blended as diffusers' `AutoencoderKL` does with tiling enabled.

use candle_core::{Device, Result, Tensor};

use super::VaeConfig;

/// A tile shares one part in this many with the next one.
const OVERLAP: usize = 4;
/// Smallest tile taken of a picture's latent, a side: smaller ones see too little for their norms and attention.
const LATENT_MIN: usize = 64;
/// Largest one: as large as what is decoded in one piece.
const LATENT_MAX: usize = 128;

/// Sides of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Of the latent.
    pub latent: usize,
    /// In pixels.
    pub pixels: usize,
}

impl Tiles {
    /// Tiles of the size the autoencoder was trained on, within bounds.
    pub(super) fn of(config: &VaeConfig) -> Self {
        let latent = (config.sample_size.largest() / config.factor()).clamp(LATENT_MIN, LATENT_MAX);
        Self { latent, pixels: latent * config.factor() }
    }

    pub(super) fn over_latents(self) -> Grid {
        Grid::new(self.latent, self.pixels)
    }

    pub(super) fn over_pixels(self) -> Grid {
        Grid::new(self.pixels, self.latent)
    }
}

/// How one picture is cut and put together again, in values of what goes in and of what comes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    tile: usize,
    stride: usize,
    blend: usize,
    /// Side of what is kept of each tile.
    kept: usize,
}

impl Grid {
    fn new(inner: usize, outer: usize) -> Self {
        let blend = outer / OVERLAP;
        Self { tile: inner, stride: (inner - inner.div_ceil(OVERLAP)).max(1), blend, kept: outer - blend }
    }

    /// Applies `f` to the tiles of each sample of (batch, channels, height, width).
    pub(super) fn each_sample(self, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let samples: Vec<Tensor> =
            (0..x.dim(0)?).map(|sample| self.over(&x.narrow(0, sample, 1)?, &f)).collect::<Result<_>>()?;
        Tensor::cat(&samples, 0)
    }

    /// One sample. No more than two rows of tiles are held at a time.
    fn over(self, x: &Tensor, f: &impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let cut = |length: usize, start: usize| self.tile.min(length - start);
        let (mut above, mut bands): (Vec<Plane>, Vec<Tensor>) = (Vec::new(), Vec::new());
        for top in (0..height).step_by(self.stride) {
            let band = x.narrow(2, top, cut(height, top))?;
            let (mut row, mut kept): (Vec<Plane>, Vec<Tensor>) = (Vec::new(), Vec::new());
            for (column, left) in (0..width).step_by(self.stride).enumerate() {
                let mut plane = Plane::of(&f(&band.narrow(3, left, cut(width, left))?.contiguous()?)?)?;
                if let Some(above) = above.get(column) {
                    plane.fade_from_above(above, self.blend);
                }
                if let Some(left) = row.last() {
                    plane.fade_from_left(left, self.blend);
                }
                kept.push(plane.kept(self.kept, x.device())?);
                row.push(plane);
            }
            bands.push(Tensor::cat(&kept, 3)?);
            above = row;
        }
        Tensor::cat(&bands, 2)
    }
}

/// What came out of one tile, on the CPU.
struct Plane {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Plane {
    fn of(tile: &Tensor) -> Result<Self> {
        let (_, channels, height, width) = tile.dims4()?;
        Ok(Self { channels, height, width, values: tile.flatten_all()?.to_vec1()? })
    }

    fn fade_from_above(&mut self, above: &Self, blend: usize) {
        let blend = blend.min(above.height).min(self.height);
        for channel in 0..self.channels {
            for y in 0..blend {
                let (there, here) = (above.row(channel, above.height - blend + y), self.row(channel, y));
                for x in 0..self.width.min(above.width) {
                    self.values[here + x] = fade(above.values[there + x], self.values[here + x], y, blend);
                }
            }
        }
    }

    fn fade_from_left(&mut self, left: &Self, blend: usize) {
        let blend = blend.min(left.width).min(self.width);
        for channel in 0..self.channels {
            for y in 0..self.height.min(left.height) {
                let (there, here) = (left.row(channel, y) + left.width - blend, self.row(channel, y));
                for x in 0..blend {
                    self.values[here + x] = fade(left.values[there + x], self.values[here + x], x, blend);
                }
            }
        }
    }

    /// The upper left part, at most `side` a side.
    fn kept(&self, side: usize, device: &Device) -> Result<Tensor> {
        let (height, width) = (side.min(self.height), side.min(self.width));
        let mut values = Vec::with_capacity(self.channels * height * width);
        for channel in 0..self.channels {
            for y in 0..height {
                let start = self.row(channel, y);
                values.extend_from_slice(&self.values[start..start + width]);
            }
        }
        Tensor::from_vec(values, (1, self.channels, height, width), device)
    }

    fn row(&self, channel: usize, y: usize) -> usize {
        (channel * self.height + y) * self.width
    }
}

fn fade(from: f32, to: f32, place: usize, length: usize) -> f32 {
    let share = place as f32 / length as f32;
    from * (1.0 - share) + to * share
}
