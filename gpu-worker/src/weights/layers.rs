//! The layers of a network that adapters may change: their names, as diffusers writes them, and their shapes. They are
//! noted while the network is read, so the list holds what the network has and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A layer's name within its network, such as `down_blocks.0.attentions.0.proj_in`.
pub type LayerName = Arc<str>;

/// Every layer of a network that an adapter may change.
pub type Layers = BTreeMap<LayerName, LayerShape>;

/// What a layer maps to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Channels read.
    pub inner: usize,
    /// Channels made.
    pub outer: usize,
    /// Side of a convolution's kernel; 1 also for linear layers.
    pub side: usize,
}
