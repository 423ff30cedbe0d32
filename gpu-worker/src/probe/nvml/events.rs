//! Waiting for XID errors. What a GPU or a driver cannot tell is done without; a wait always takes its time.

use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::struct_wrappers::event::EventData;

use super::inventory::GPUS_MAX;

/// How long one wait lasts; the readings are this old at most.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// Most errors taken at once; what is left comes with the next wait.
const EVENTS_MAX: usize = 64;

/// An XID error, as far as it is known.
pub(super) struct Xid {
    /// The GPU; a GPU that is lost by now does not say its name.
    pub(super) uuid: Option<String>,
    /// Its number.
    pub(super) number: Option<u64>,
}

/// What is waited on; nothing where the driver has no events.
pub(super) struct Events<'nvml> {
    set: Option<EventSet<'nvml>>,
    /// Whether the log has said that waiting fails; it is said once.
    told: bool,
}

impl<'nvml> Events<'nvml> {
    /// Asks for the critical XID errors of every GPU that can tell them.
    pub(super) fn register(nvml: &'nvml Nvml) -> Self {
        let mut refused = vec![false; GPUS_MAX as usize];
        // Each round leaves one more GPU out, so there are no more rounds than GPUs.
        for _ in 0..=GPUS_MAX {
            match register_but(nvml, &refused) {
                Ok(set) => return Self { set, told: false },
                Err(index) => refused[index] = true,
            }
        }
        Self { set: None, told: false }
    }

    /// Makes a set anew, for a GPU that was lost or came back, and returns what the old one still held: what was raised
    /// before the new one listens would be lost with it.
    pub(super) fn renew(&mut self, nvml: &'nvml Nvml) -> Vec<Xid> {
        std::mem::replace(self, Self::register(nvml)).take(Duration::ZERO)
    }

    /// Waits for an error, or just waits; takes all that are there.
    pub(super) fn wait(&mut self) -> Vec<Xid> {
        self.take(WAIT)
    }

    fn take(&mut self, wait: Duration) -> Vec<Xid> {
        let Some(set) = &self.set else {
            std::thread::sleep(wait);
            return Vec::new();
        };
        let mut raised = Vec::new();
        let mut timeout = wait.as_millis() as u32;
        while raised.len() < EVENTS_MAX {
            match set.wait(timeout) {
                Ok(event) => raised.extend(xid(&event)),
                Err(NvmlError::Timeout) => break,
                Err(error) => {
                    if raised.is_empty() {
                        if !std::mem::replace(&mut self.told, true) {
                            tracing::warn!(%error, "waiting for GPU faults fails");
                        }
                        std::thread::sleep(wait);
                    }
                    break;
                }
            }
            timeout = 0;
        }
        raised
    }
}

fn xid(event: &EventData<'_>) -> Option<Xid> {
    let number = match event.event_data.as_ref()? {
        XidError::Value(number) => Some(*number),
        XidError::Unknown => None,
    };
    Some(Xid { uuid: event.device.uuid().ok(), number })
}

/// A set of all GPUs but those left out; a GPU that refuses takes the whole set with it, and its index is returned.
fn register_but<'nvml>(nvml: &'nvml Nvml, refused: &[bool]) -> Result<Option<EventSet<'nvml>>, usize> {
    let Ok(mut set) = nvml.create_event_set() else { return Ok(None) };
    let count = nvml.device_count().unwrap_or(0).min(GPUS_MAX);
    for index in (0..count).filter(|index| !refused[*index as usize]) {
        let Ok(device) = nvml.device_by_index(index) else { continue };
        let tells = device.supported_event_types().is_ok_and(|types| types.contains(EventTypes::CRITICAL_XID_ERROR));
        if tells {
            set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|_| index as usize)?;
        }
    }
    Ok(Some(set))
}
