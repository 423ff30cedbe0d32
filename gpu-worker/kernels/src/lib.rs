//! Operations that candle's own CPU code is too slow at. On other devices candle's are used.
//!
//! One law holds for all of them: a sample's bits depend neither on the batch it stands in nor on the number of threads.
//! Instructions are chosen at run time ([`Level`]), so one program runs everywhere.

mod amx;
mod attention;
mod conv;
mod data;
mod elsewhere;
#[cfg(any(test, feature = "cuda"))]
mod fused;
mod gemm;
mod level;
mod linear;
mod math;
mod memory;
mod norm;
mod pack;
mod pairs;
mod pointwise;
mod precision;
mod shared;
#[cfg(test)]
mod testing;
mod tile;
mod winograd;

pub use attention::attention;
pub use conv::{Moves, conv2d};
pub use level::Level;
pub use linear::{With, linear, map_to_tokens, matmul, matmul_onto, matmul_t, tokens_to_map};
pub use memory::give_back;
pub use norm::{After, GroupNormShape, group_norm, layer_norm};
pub use pointwise::{Function, apply, geglu, upsample};
pub use precision::{NotSuited, Precision, UnknownPrecision};
