//! A place in a weight file's tree of names, so that a layer asks for `weight` and need not know where it stands.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::{Interrupt, LayerName, LayerShape, Layers, Naming, UnreadableFile, WeightFile};
use crate::kernels::Precision;

/// A file, a prefix within it, and the device its tensors go to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Weights {
    file: Arc<WeightFile>,
    prefix: String,
    /// How the file names its tensors.
    naming: Arc<Naming>,
    /// Bytes of the prefix that lie outside the network being read.
    outside: usize,
    /// Layers of that network read so far, from any place below it.
    layers: Arc<Mutex<Layers>>,
    device: Device,
    precision: Precision,
    interrupt: Interrupt,
}

impl Weights {
    /// The root of a file in diffusers' naming.
    pub fn new(file: Arc<WeightFile>, device: Device) -> Self {
        Self::named(file, device, Naming::Diffusers)
    }

    /// One network of a file that names its tensors otherwise; here they are asked for by diffusers' names.
    pub fn named(file: Arc<WeightFile>, device: Device, naming: Naming) -> Self {
        let (naming, precision) = (naming.into(), Precision::F32);
        let (layers, interrupt) = (Arc::default(), Interrupt::default());
        Self { file, prefix: String::new(), naming, outside: 0, layers, device, precision, interrupt }
    }

    /// The same for layers that multiply in a given precision; without it they do in fp32.
    #[must_use]
    pub fn multiplied_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same, broken off when that is wanted.
    #[must_use]
    pub fn interrupted_by(self, interrupt: Interrupt) -> Self {
        Self { interrupt, ..self }
    }

    /// What layers read from here multiply in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A place below this one.
    #[must_use]
    pub fn at(&self, name: impl Display) -> Self {
        Self { prefix: self.name(name), ..self.clone() }
    }

    /// The same place as the root of a network, whose layers are named from here.
    #[must_use]
    pub fn network(&self) -> Self {
        Self { outside: self.prefix.len(), layers: Arc::default(), ..self.clone() }
    }

    /// Notes that the network has a layer here which adapters may change; answers its name.
    pub fn note_layer(&self, shape: LayerShape) -> LayerName {
        let name = LayerName::from(self.prefix[self.outside..].trim_start_matches('.'));
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&name), shape);
        name
    }

    /// The layers noted since [`Self::network`].
    pub fn layers(&self) -> Layers {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a tensor of this name is here.
    pub fn has(&self, name: &str) -> bool {
        self.naming.stored(&self.name(name)).is_some_and(|stored| stored.is_in(&self.file))
    }

    /// Reads a tensor that must have this shape; see [`WeightFile::tensor`].
    ///
    /// # Errors
    /// See [`WeightFile::tensor`].
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, UnreadableFile> {
        if self.interrupt.is_set() {
            return Err(self.unreadable("was not read to its end, as something else is wanted first"));
        }
        let name = self.name(name);
        let stored = self.naming.stored(&name);
        let stored = stored.ok_or_else(|| self.unreadable(format!("has no place for the tensor {name}")))?;
        stored.read(&self.file, shape, &self.device)
    }

    /// The device tensors go to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Says that the file as a whole does not fit.
    pub fn unreadable(&self, what: impl Into<String>) -> UnreadableFile {
        UnreadableFile::new(self.file.path(), what)
    }

    fn name(&self, name: impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}
