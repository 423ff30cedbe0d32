//! Operations that candle's own CPU code is too slow at, as candle custom operations. On other devices candle's are
//! used.

mod conv;
mod matmul;

pub use conv::conv2d;
pub use matmul::{matmul, matmul_t};
