//! NVIDIA GPUs by NVML. One thread owns the library, reads it every second, waits for XID faults in between, and leaves
//! plain values behind; the handles borrow the library, so nothing of it leaves this file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::{Device, Nvml};
use tintype_types::worker::Gpu;

use super::GpuProbe;

/// How long one wait for faults lasts, in milliseconds; the readings are this old at most.
const WAIT_MS: u32 = 1_000;
/// Most GPUs reported.
const GPUS_MAX: u32 = 64;

/// Why there is no probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The library is missing or will not start.
    #[error("NVML cannot be used: {0}")]
    Nvml(#[from] NvmlError),
    /// It works and sees nothing.
    #[error("NVML sees no GPU")]
    NoGpu,
    /// The thread could not be started or ended at once.
    #[error("the NVML thread could not be started")]
    Thread,
}

/// The thread and what it last saw.
#[derive(Debug)]
pub struct NvmlProbe {
    seen: Arc<Mutex<Vec<Gpu>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NvmlProbe {
    /// Loads the library (the driver's own unless one is named) and takes the first reading.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub fn start(library: Option<&Path>) -> Result<Self, ProbeError> {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (started, first) = mpsc::sync_channel(1);
        let library = library.map(Path::to_owned);
        let (thread_seen, thread_stop) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || watch(library.as_deref(), &thread_seen, &thread_stop, &started))
            .map_err(|_| ProbeError::Thread)?;
        first.recv().map_err(|_| ProbeError::Thread)??;
        Ok(Self { seen, stop, thread: Some(thread) })
    }
}

impl GpuProbe for NvmlProbe {
    fn read(&self) -> Vec<Gpu> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NvmlProbe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends after its current wait; a panic in it has nothing to tell us any more.
            let _ended = thread.join();
        }
    }
}

fn watch(
    library: Option<&Path>,
    seen: &Mutex<Vec<Gpu>>,
    stop: &AtomicBool,
    started: &mpsc::SyncSender<Result<(), ProbeError>>,
) {
    let nvml = match open(library) {
        Ok(nvml) => nvml,
        Err(error) => {
            let _told = started.send(Err(error));
            return;
        }
    };
    let mut xids: BTreeMap<String, u32> = BTreeMap::new();
    let publish = |xids: &BTreeMap<String, u32>| {
        let gpus = read_all(&nvml, xids);
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = gpus;
    };
    publish(&xids);
    let events = register(&nvml);
    let _told = started.send(Ok(()));
    while !stop.load(Ordering::Relaxed) {
        wait(events.as_ref(), &mut xids);
        publish(&xids);
    }
}

fn open(library: Option<&Path>) -> Result<Nvml, ProbeError> {
    let mut builder = Nvml::builder();
    if let Some(library) = library {
        builder.lib_path(library.as_os_str());
    }
    let nvml = builder.init()?;
    if nvml.device_count()? == 0 {
        return Err(ProbeError::NoGpu);
    }
    Ok(nvml)
}

/// Waits for a fault, or just waits where faults cannot be had.
fn wait(events: Option<&EventSet<'_>>, xids: &mut BTreeMap<String, u32>) {
    let Some(events) = events else {
        std::thread::sleep(std::time::Duration::from_millis(u64::from(WAIT_MS)));
        return;
    };
    match events.wait(WAIT_MS) {
        Ok(event) => {
            if let Ok(uuid) = event.device.uuid() {
                tracing::warn!(gpu.uuid = %uuid, "the GPU reported an XID fault");
                let count = xids.entry(uuid).or_insert(0);
                *count = count.saturating_add(1);
            }
        }
        Err(NvmlError::Timeout) => {}
        Err(error) => {
            tracing::warn!(%error, "waiting for GPU faults failed");
            std::thread::sleep(std::time::Duration::from_millis(u64::from(WAIT_MS)));
        }
    }
}

/// Asks for critical XID events of every GPU; none when the driver has no events.
fn register(nvml: &Nvml) -> Option<EventSet<'_>> {
    let mut events = nvml.create_event_set().ok()?;
    for device in devices(nvml) {
        events = match device.register_events(EventTypes::CRITICAL_XID_ERROR, events) {
            Ok(events) => events,
            // A GPU without events takes the whole set with it.
            Err(_) => return None,
        };
    }
    Some(events)
}

fn devices(nvml: &Nvml) -> impl Iterator<Item = Device<'_>> {
    (0..nvml.device_count().unwrap_or(0).min(GPUS_MAX)).filter_map(|index| nvml.device_by_index(index).ok())
}

fn read_all(nvml: &Nvml, xids: &BTreeMap<String, u32>) -> Vec<Gpu> {
    devices(nvml)
        .filter_map(|device| {
            let uuid = device.uuid().ok()?;
            let memory = device.memory_info().ok()?;
            Some(Gpu {
                name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
                vram_total_bytes: memory.total,
                vram_free_bytes: memory.free,
                utilisation_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
                temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
                power_milliwatts: device.power_usage().ok(),
                xid_count: xids.get(&uuid).copied().unwrap_or(0),
                uuid,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_said() {
        let error = NvmlProbe::start(Some(Path::new("/nonexistent/libnvidia-ml.so"))).unwrap_err();
        assert!(error.to_string().contains("NVML"), "{error}");
    }
}
