//! The GPUs by their index: the last good reading of each, and the history behind its health. A GPU that is lost stays
//! listed, with nothing free.

use std::collections::BTreeMap;
use std::time::Instant;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};
use tintype_types::worker::{Gpu, ThrottleReason};

use super::events::Xid;
use crate::probe::foreign::{Held, Ledger, by_pid};
use crate::probe::health::{Vitals, Ward, summary};
use crate::probe::{Health, Neighbours};

/// Most GPUs looked at.
pub(super) const GPUS_MAX: u32 = 64;
/// Most MIG devices looked at on one GPU.
const MIG_DEVICES_MAX: u32 = 16;

#[derive(Debug, Default)]
struct Slot {
    uuid: String,
    /// The GPU, or the MIG devices it is cut into.
    gpus: Vec<Gpu>,
    answers: bool,
    ward: Ward,
    ledger: Ledger,
}

/// All GPUs.
#[derive(Debug)]
pub(super) struct Inventory {
    slots: BTreeMap<u32, Slot>,
    /// `CUDA_VISIBLE_DEVICES`, which says on what this process draws.
    visible: Option<String>,
    neighbours: Neighbours,
}

impl Inventory {
    pub(super) fn new(visible: Option<String>, neighbours: Neighbours) -> Self {
        Self { slots: BTreeMap::new(), visible, neighbours }
    }

    /// Takes a reading of every GPU that is there or was, while this process holds so much of the one it draws on.
    pub(super) fn read(&mut self, nvml: &Nvml, held: Held, now: Instant) {
        let known = self.slots.last_key_value().map_or(0, |(last, _)| last + 1);
        let count = nvml.device_count().unwrap_or(0).max(known).min(GPUS_MAX);
        for index in 0..count {
            let slot = self.slots.entry(index).or_default();
            let reading = nvml.device_by_index(index).ok().and_then(|device| Some((read(&device)?, device)));
            match reading {
                Some(((uuid, gpus), device)) => {
                    if slot.uuid != uuid {
                        // Another GPU took this place: what was held against the old one is not its own.
                        *slot = Slot { uuid, ..Slot::default() };
                    }
                    let names = |gpus: &[Gpu]| gpus.iter().map(|gpu| gpu.uuid.clone()).collect::<Vec<_>>();
                    if !slot.gpus.is_empty() && names(&slot.gpus) != names(&gpus) {
                        slot.ward.recut(now);
                    }
                    slot.answers = true;
                    slot.gpus = gpus;
                    let foreign = slot.foreign(&device, held);
                    if let [whole] = &mut slot.gpus[..]
                        && whole.mig_of.is_none()
                    {
                        whole.foreign_bytes = Some(foreign);
                    }
                    let unwelcome = match self.neighbours {
                        Neighbours::Trouble => foreign,
                        Neighbours::Welcome => 0,
                    };
                    slot.ward.reads(vitals(&device, unwelcome), now);
                }
                None => slot.lose(index, now),
            }
        }
    }

    /// None of them answers.
    pub(super) fn lost(&mut self, now: Instant) {
        for (index, slot) in &mut self.slots {
            slot.lose(*index, now);
        }
    }

    /// Counts an XID error. One without a name is held against the GPUs that are lost; without any, against all.
    pub(super) fn xid(&mut self, xid: Xid, now: Instant) {
        let Xid { uuid, number } = xid;
        tracing::warn!(gpu.uuid = uuid.as_deref(), xid = number, "a GPU reported an XID error");
        let any_lost = self.any_lost();
        let known = uuid.as_ref().filter(|uuid| self.slots.values().any(|slot| slot.uuid == **uuid));
        for slot in self.slots.values_mut() {
            let its = known.map_or(!any_lost || !slot.answers, |uuid| slot.uuid == *uuid);
            if its {
                slot.ward.xid(number, now);
            }
        }
    }

    /// Which GPUs answer.
    pub(super) fn answering(&self) -> Vec<u32> {
        self.slots.iter().filter(|(_, slot)| slot.answers).map(|(index, _)| *index).collect()
    }

    pub(super) fn any_lost(&self) -> bool {
        self.slots.values().any(|slot| !slot.answers)
    }

    /// As the protocol says them.
    pub(super) fn gpus(&self) -> Vec<Gpu> {
        let with_count = |slot: &Slot, gpu: &Gpu| Gpu {
            xid_count: slot.ward.xids,
            last_xid: slot.ward.last_xid.and_then(|xid| u32::try_from(xid).ok()),
            ..gpu.clone()
        };
        self.slots.values().flat_map(|slot| slot.gpus.iter().map(move |gpu| with_count(slot, gpu))).collect()
    }

    pub(super) fn health(&self) -> Health {
        let names: Vec<(&str, u32)> = self
            .slots
            .iter()
            .flat_map(|(index, slot)| slot.gpus.iter().map(|gpu| (&*gpu.uuid, *index)).chain([(&*slot.uuid, *index)]))
            .collect();
        let in_use =
            in_use(&names, self.visible.as_deref()).and_then(|index| self.slots.get(&index)).map(|slot| &slot.ward);
        summary(self.slots.values().map(|slot| &slot.ward), in_use)
    }
}

impl Slot {
    /// What other processes hold of it, in bytes.
    fn foreign(&mut self, device: &Device<'_>, held: Held) -> u64 {
        let by_pid = by_pid(&processes(device), std::process::id(), held);
        let cut = self.gpus.len() != 1 || self.gpus.first().is_some_and(|gpu| gpu.uuid != self.uuid);
        // Nobody else is in a slice of ours, and what others have of the whole is none of our business.
        let used = if cut { None } else { device.memory_info().ok().map(|memory| memory.used) };
        let by_memory = used.map_or(0, |used| self.ledger.by_memory(used, held));
        match by_pid {
            Some(bytes) if matches!(held, Held::Bytes(held) if held > 0) => bytes,
            Some(bytes) => bytes.max(by_memory),
            None => by_memory,
        }
    }

    fn lose(&mut self, index: u32, now: Instant) {
        self.answers = false;
        if self.gpus.is_empty() {
            // It never answered; it has a place all the same.
            let (uuid, name) = (format!("gpu-{index}"), "NVIDIA GPU".to_owned());
            self.gpus = vec![Gpu { uuid, name, ..Gpu::default() }];
        }
        for gpu in &mut self.gpus {
            let (uuid, name, mig_of) =
                (std::mem::take(&mut gpu.uuid), std::mem::take(&mut gpu.name), gpu.mig_of.take());
            *gpu = Gpu { uuid, name, mig_of, vram_total_bytes: gpu.vram_total_bytes, ..Gpu::default() };
        }
        self.ward.lost(now);
    }
}

/// The index of the GPU that this process draws on: the first that CUDA may see, else the first there is. CUDA takes
/// names, or the start of one, and indexes, and sees nothing behind a name that is unknown.
fn in_use(names: &[(&str, u32)], visible: Option<&str>) -> Option<u32> {
    let first = visible.and_then(|visible| visible.split(',').next()).map(str::trim).filter(|first| !first.is_empty());
    let by_name = |wanted: &str| names.iter().find(|(name, _)| name.starts_with(wanted)).map(|(_, index)| *index);
    match first {
        Some(wanted) => {
            wanted.parse().ok().filter(|index| names.iter().any(|(_, it)| it == index)).or_else(|| by_name(wanted))
        }
        None => None,
    }
    .or_else(|| names.first().map(|(_, index)| *index))
}

/// Name and readings; `None` when the device does not answer.
fn read(device: &Device<'_>) -> Option<(String, Vec<Gpu>)> {
    let uuid = device.uuid().ok()?;
    let whole = gpu(device, device)?;
    let slices = if device.mig_mode().is_ok_and(|mode| mode.current == 1) { device.mig_device_count() } else { Ok(0) };
    let slices =
        (0..slices.unwrap_or(0).min(MIG_DEVICES_MAX)).filter_map(|index| device.mig_device_by_index(index).ok());
    let slices: Vec<_> = slices.filter_map(|slice| gpu(&slice, device)).collect();
    // A GPU that is cut into slices cannot be drawn on as a whole.
    Some((uuid, if slices.is_empty() { vec![whole] } else { slices }))
}

/// A GPU or a MIG device, whose sensors are those of the whole.
fn gpu(device: &Device<'_>, whole: &Device<'_>) -> Option<Gpu> {
    let memory = device.memory_info().ok()?;
    let (uuid, of) = (device.uuid().ok()?, whole.uuid().ok()?);
    let rates = device.utilization_rates().ok();
    let ecc = |errors| whole.total_ecc_errors(errors, EccCounter::Volatile).ok();
    Some(Gpu {
        mig_of: (of != uuid).then_some(of),
        uuid,
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        vram_total_bytes: memory.total,
        vram_free_bytes: memory.free,
        utilisation_percent: rates.as_ref().map(|rates| rates.gpu),
        memory_utilisation_percent: rates.as_ref().map(|rates| rates.memory),
        temperature_celsius: whole.temperature(TemperatureSensor::Gpu).ok(),
        power_milliwatts: whole.power_usage().ok(),
        power_limit_milliwatts: whole.enforced_power_limit().ok(),
        energy_millijoules: whole.total_energy_consumption().ok(),
        sm_clock_mhz: whole.clock_info(Clock::SM).ok(),
        memory_clock_mhz: whole.clock_info(Clock::Memory).ok(),
        throttle_reasons: whole.current_throttle_reasons().map(throttled).unwrap_or_default(),
        ecc_corrected: ecc(MemoryError::Corrected),
        ecc_uncorrected: ecc(MemoryError::Uncorrected),
        page_retirement_pending: whole.are_pages_pending_retired().unwrap_or(false),
        xid_count: 0,
        last_xid: None,
        foreign_bytes: None,
    })
}

/// NVML's bits as the protocol names them.
fn throttled(bits: ThrottleReasons) -> Vec<ThrottleReason> {
    let bit = |reason: &ThrottleReason| match reason {
        ThrottleReason::GpuIdle => ThrottleReasons::GPU_IDLE,
        ThrottleReason::ApplicationsClocksSetting => ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
        ThrottleReason::SwPowerCap => ThrottleReasons::SW_POWER_CAP,
        ThrottleReason::HwSlowdown => ThrottleReasons::HW_SLOWDOWN,
        ThrottleReason::SyncBoost => ThrottleReasons::SYNC_BOOST,
        ThrottleReason::SwThermalSlowdown => ThrottleReasons::SW_THERMAL_SLOWDOWN,
        ThrottleReason::HwThermalSlowdown => ThrottleReasons::HW_THERMAL_SLOWDOWN,
        ThrottleReason::HwPowerBrakeSlowdown => ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
        ThrottleReason::DisplayClockSetting => ThrottleReasons::DISPLAY_CLOCK_SETTING,
    };
    ThrottleReason::ALL.into_iter().filter(|reason| bits.contains(bit(reason))).collect()
}

fn vitals(device: &Device<'_>, foreign_bytes: u64) -> Vitals {
    // The driver's own, milder slowdown (SW) is daily life of a busy GPU.
    let heat = ThrottleReasons::HW_THERMAL_SLOWDOWN;
    Vitals {
        ecc_uncorrected: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).ok(),
        retirement_pending: device.are_pages_pending_retired().unwrap_or(false),
        celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        slowdown_celsius: device.temperature_threshold(TemperatureThreshold::Slowdown).ok(),
        slowed_by_heat: device.current_throttle_reasons().is_ok_and(|reasons| reasons.intersects(heat)),
        memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
        foreign_bytes,
    }
}

/// The processes that compute on a GPU, as the driver knows them: pid and bytes.
fn processes(device: &Device<'_>) -> Vec<(u32, u64)> {
    let held = |memory| match memory {
        UsedGpuMemory::Used(bytes) => bytes,
        UsedGpuMemory::Unavailable => 0,
    };
    let found = device.running_compute_processes().unwrap_or_default();
    found.into_iter().map(|process| (process.pid, held(process.used_gpu_memory))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_says_which_gpu_is_in_use() {
        let names = [("MIG-1", 0), ("GPU-aa", 0), ("GPU-bb", 1), ("GPU-bb", 1)];
        for (visible, expected) in [
            (None, 0),
            (Some(""), 0),
            (Some("1"), 1),
            (Some("1,0"), 1),
            (Some("GPU-b"), 1),
            (Some("MIG-1"), 0),
            (Some("7"), 0),
            (Some("all"), 0),
        ] {
            assert_eq!(in_use(&names, visible), Some(expected), "{visible:?}");
        }
        assert_eq!(in_use(&[], Some("0")), None);
    }
}
