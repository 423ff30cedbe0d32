//! NVIDIA GPUs by NVML. One thread owns the library, reads it every second, waits for XID errors in between, and leaves
//! plain values behind; the handles borrow the library, so nothing of it leaves this folder.

mod events;
mod inventory;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use tintype_types::worker::Gpu;
use tokio::sync::watch;

use self::events::{Events, WAIT};
use self::inventory::Inventory;
use super::foreign::Held;
use super::{GpuProbe, Health, Neighbours};

/// How long a GPU may be lost before the library is started anew: it finds a GPU that was reset.
const REOPEN_AFTER: Duration = Duration::from_secs(10);

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
    held: Arc<Mutex<Held>>,
    health: watch::Receiver<Health>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NvmlProbe {
    /// Loads the library (the driver's own unless one is named) and takes the first reading.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub fn start(library: Option<&Path>, neighbours: Neighbours) -> Result<Self, ProbeError> {
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let held = Arc::<Mutex<Held>>::default();
        let (sender, health) = watch::channel(Health::default());
        let (started, first) = mpsc::sync_channel(1);
        let thread = Thread {
            library: library.map(Path::to_owned),
            inventory: Inventory::new(std::env::var("CUDA_VISIBLE_DEVICES").ok(), neighbours),
            seen: Arc::clone(&seen),
            held: Arc::clone(&held),
            health: sender,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("nvml".to_owned())
            .spawn(move || thread.run(&started))
            .map_err(|_| ProbeError::Thread)?;
        first.recv().map_err(|_| ProbeError::Thread)??;
        Ok(Self { seen, held, health, stop, thread: Some(thread) })
    }
}

impl GpuProbe for NvmlProbe {
    fn read(&self) -> Vec<Gpu> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    fn holds(&self, bytes: Option<u64>) {
        let held = bytes.map_or(Held::Unknown, Held::Bytes);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
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

struct Thread {
    library: Option<PathBuf>,
    inventory: Inventory,
    seen: Arc<Mutex<Vec<Gpu>>>,
    held: Arc<Mutex<Held>>,
    health: watch::Sender<Health>,
    stop: Arc<AtomicBool>,
}

impl Thread {
    fn run(mut self, started: &mpsc::SyncSender<Result<(), ProbeError>>) {
        match open(self.library.as_deref()) {
            Err(error) => {
                let _told = started.send(Err(error));
                return;
            }
            Ok(nvml) => {
                self.inventory.read(&nvml, self.held(), Instant::now());
                self.publish();
                let mut events = Events::register(&nvml);
                let _told = started.send(Ok(()));
                self.watch(&nvml, &mut events);
            }
        }
        while !self.stopped() {
            match open(self.library.as_deref()) {
                Ok(nvml) => self.watch(&nvml, &mut Events::register(&nvml)),
                Err(error) => {
                    tracing::debug!(%error, "NVML does not start again");
                    self.inventory.lost(Instant::now());
                    self.publish();
                    std::thread::sleep(WAIT);
                }
            }
        }
    }

    /// Reads until stopped, or until a GPU has been lost so long that the library is better started anew.
    fn watch<'nvml>(&mut self, nvml: &'nvml Nvml, events: &mut Events<'nvml>) {
        let mut lost_since = None;
        while !self.stopped() {
            let raised = events.wait();
            let now = Instant::now();
            let before = self.inventory.answering();
            self.inventory.read(nvml, self.held(), now);
            for xid in raised {
                self.inventory.xid(xid, now);
            }
            // A set with a lost GPU in it tells nothing else, and one made before its return does not know it. Whoever sees
            // the change may count on the new set.
            if before != self.inventory.answering() {
                for xid in events.renew(nvml) {
                    self.inventory.xid(xid, now);
                }
            }
            self.publish();
            if !self.inventory.any_lost() {
                lost_since = None;
            } else if now.duration_since(*lost_since.get_or_insert(now)) >= REOPEN_AFTER {
                return;
            }
        }
    }

    fn held(&self) -> Held {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn publish(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.inventory.gpus();
        self.health.send_replace(self.inventory.health());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_said() {
        let error = NvmlProbe::start(Some(Path::new("/nonexistent/libnvidia-ml.so")), Neighbours::Trouble).unwrap_err();
        assert!(error.to_string().contains("NVML"), "{error}");
    }
}
