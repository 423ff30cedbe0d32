//! NVML's functions but for the events: look the device up, answer from the file.
#![expect(unsafe_code, reason = "exported under NVIDIA's names and called from C; pointers are used in `state` alone")]
#![expect(non_snake_case, reason = "NVIDIA's names")]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{
    nvmlClockType_t, nvmlDevice_t, nvmlEccCounterType_t, nvmlEnableState_t, nvmlMemory_v2_t, nvmlMemoryErrorType_t,
    nvmlPageRetirementCause_t, nvmlPciInfo_t, nvmlProcessInfo_t, nvmlReturn_t, nvmlTemperatureSensors_t,
    nvmlTemperatureThresholds_t, nvmlUtilization_t,
};

use crate::machine::{FakeGpu, RetiredPage};
use crate::state::{
    Answer, GPU_IS_LOST, INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, SUCCESS, VERSION_MISMATCH, device, give,
    give_list, give_text, handle, machine, mig_device, start, stop, supported, whole,
};

/// NVML says 7 MIG devices at most for a GPU.
const MIG_DEVICES_MAX: c_uint = 7;
/// A driver from before the field ids moved (580.82).
const DRIVER: &str = "570.86.15";

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    start()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    start()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    stop()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlErrorString(code: nvmlReturn_t) -> *const c_char {
    let text = match code {
        SUCCESS => c"Success",
        NOT_SUPPORTED => c"Not Supported",
        GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetDriverVersion(out: *mut c_char, room: c_uint) -> nvmlReturn_t {
    give_text(out, room, machine().map(|machine| machine.driver.unwrap_or_else(|| DRIVER.to_owned())))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetNVMLVersion(out: *mut c_char, room: c_uint) -> nvmlReturn_t {
    give_text(out, room, machine().map(|machine| format!("12.{}", machine.driver.as_deref().unwrap_or(DRIVER))))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(out: *mut c_int) -> nvmlReturn_t {
    give(out, machine().map(|_| 12_080))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCount_v2(out: *mut c_uint) -> nvmlReturn_t {
    give(out, machine().map(|machine| machine.gpus.len() as c_uint))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, out: *mut nvmlDevice_t) -> nvmlReturn_t {
    let found = handle(index as usize, None);
    give(out, device(found).map(|_| found))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, out: *mut nvmlDevice_t) -> nvmlReturn_t {
    if uuid.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: by NVML's contract a string with its zero; null was ruled out.
    let uuid = unsafe { std::ffi::CStr::from_ptr(uuid) }.to_string_lossy();
    give(out, machine().and_then(|machine| by_uuid(&machine.gpus, &uuid)))
}

/// The GPUs are asked one after another, so one that is lost ends the search.
fn by_uuid(gpus: &[FakeGpu], uuid: &str) -> Answer<nvmlDevice_t> {
    for (index, gpu) in gpus.iter().enumerate() {
        if gpu.lost {
            return Err(GPU_IS_LOST);
        }
        if gpu.uuid == uuid {
            return Ok(handle(index, None));
        }
        let slice = (0..gpu.mig_devices.len()).find(|slice| mig_device(gpu, *slice).is_some_and(|it| it.uuid == uuid));
        if slice.is_some() {
            return Ok(handle(index, slice));
        }
    }
    Err(NOT_FOUND)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetIndex(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    give(out, device(it).map(|it| it.mig.map_or(it.index, |(slice, _)| slice) as c_uint))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMinorNumber(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    give(out, whole(it).and_then(|_| device(it)).map(|it| it.index as c_uint))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetName(it: nvmlDevice_t, out: *mut c_char, room: c_uint) -> nvmlReturn_t {
    give_text(out, room, device(it).map(|it| it.mig.map_or(it.gpu.name, |(_, mig)| mig.name)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUUID(it: nvmlDevice_t, out: *mut c_char, room: c_uint) -> nvmlReturn_t {
    give_text(out, room, device(it).map(|it| it.mig.map_or(it.gpu.uuid, |(_, mig)| mig.uuid)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(it: nvmlDevice_t, out: *mut nvmlPciInfo_t) -> nvmlReturn_t {
    let info = whole(it).and_then(|_| device(it)).map(|it| {
        let bus = it.index as c_uint + 1;
        let mut info = nvmlPciInfo_t {
            busIdLegacy: [0; 16],
            domain: 0,
            bus,
            device: 0,
            pciDeviceId: 0x27b8_10de,
            pciSubSystemId: 0x16ca_10de,
            busId: [0; 32],
        };
        copy_text(&mut info.busIdLegacy, &format!("0000:{bus:02X}:00.0"));
        copy_text(&mut info.busId, &format!("00000000:{bus:02X}:00.0"));
        info
    });
    give(out, info)
}

fn copy_text(out: &mut [c_char], text: &str) {
    let room = out.len() - 1;
    for (out, byte) in out[..room].iter_mut().zip(text.bytes()) {
        *out = byte as c_char;
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    it: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    match give(major, device(it).map(|_| 8)) {
        SUCCESS => give(minor, Ok(9)),
        code => code,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    it: nvmlDevice_t,
    out: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    // NVML_STRUCT_VERSION(Memory, 2): the size, and the version above it.
    let version = size_of::<nvmlMemory_v2_t>() as c_uint | (2 << 24);
    match crate::state::taken(out) {
        Err(code) => return code,
        Ok(asked) if asked.version != version => return VERSION_MISMATCH,
        Ok(_) => {}
    }
    let memory = device(it).map(|it| {
        let whole = (it.gpu.memory_total, it.gpu.memory_used);
        let (total, used) = it.mig.map_or(whole, |(_, mig)| (mig.memory_total, mig.memory_used));
        nvmlMemory_v2_t { version, total, reserved: 0, free: total.saturating_sub(used), used }
    });
    give(out, memory)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUtilizationRates(
    it: nvmlDevice_t,
    out: *mut nvmlUtilization_t,
) -> nvmlReturn_t {
    let rates = whole(it).and_then(|gpu| supported(gpu.utilisation));
    give(out, rates.map(|gpu| nvmlUtilization_t { gpu, memory: gpu / 2 }))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTemperature(
    it: nvmlDevice_t,
    sensor: nvmlTemperatureSensors_t,
    out: *mut c_uint,
) -> nvmlReturn_t {
    if sensor != nvml::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU {
        return INVALID_ARGUMENT;
    }
    give(out, whole(it).and_then(|gpu| supported(gpu.temperature)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTemperatureThreshold(
    it: nvmlDevice_t,
    threshold: nvmlTemperatureThresholds_t,
    out: *mut c_uint,
) -> nvmlReturn_t {
    if threshold >= nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_COUNT {
        return INVALID_ARGUMENT;
    }
    let slowdown = threshold == nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SLOWDOWN;
    give(out, whole(it).and_then(|gpu| supported(gpu.slowdown_temperature.filter(|_| slowdown))))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPowerUsage(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    give(out, whole(it).and_then(|gpu| supported(gpu.power_milliwatts)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    give(out, whole(it).and_then(|gpu| supported(gpu.power_limit_milliwatts)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetClockInfo(
    it: nvmlDevice_t,
    clock: nvmlClockType_t,
    out: *mut c_uint,
) -> nvmlReturn_t {
    let of = |gpu: FakeGpu| match clock {
        nvml::nvmlClockType_enum_NVML_CLOCK_GRAPHICS | nvml::nvmlClockType_enum_NVML_CLOCK_SM => {
            supported(gpu.sm_clock)
        }
        nvml::nvmlClockType_enum_NVML_CLOCK_MEM => supported(gpu.memory_clock),
        nvml::nvmlClockType_enum_NVML_CLOCK_VIDEO => Err(NOT_SUPPORTED),
        _ => Err(INVALID_ARGUMENT),
    };
    give(out, whole(it).and_then(of))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    it: nvmlDevice_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    give(out, whole(it).and_then(|gpu| supported(gpu.energy_millijoules)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    it: nvmlDevice_t,
    kind: nvmlMemoryErrorType_t,
    counter: nvmlEccCounterType_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    if kind >= nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_COUNT
        || counter >= nvml::nvmlEccCounterType_enum_NVML_ECC_COUNTER_TYPE_COUNT
    {
        return INVALID_ARGUMENT;
    }
    let corrected = kind == nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
    let count = |gpu: FakeGpu| supported(if corrected { gpu.ecc_corrected } else { gpu.ecc_uncorrected });
    give(out, whole(it).and_then(count))
}

/// Pages of one cause; all of ours are there for double-bit errors.
fn pages(it: nvmlDevice_t, cause: nvmlPageRetirementCause_t) -> Answer<Vec<RetiredPage>> {
    let double = nvml::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR;
    let pages = whole(it).and_then(|gpu| supported(gpu.retired_pages))?;
    Ok(if cause == double { pages } else { Vec::new() })
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetRetiredPages(
    it: nvmlDevice_t,
    cause: nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
) -> nvmlReturn_t {
    match pages(it, cause) {
        Err(code) => code,
        Ok(pages) => {
            let found: Vec<_> = pages.iter().map(|page| page.address).collect();
            give_list(count, &[(addresses, &found)])
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetRetiredPages_v2(
    it: nvmlDevice_t,
    cause: nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
    timestamps: *mut c_ulonglong,
) -> nvmlReturn_t {
    match pages(it, cause) {
        Err(code) => code,
        Ok(pages) => {
            let (found, when): (Vec<_>, Vec<_>) = pages.iter().map(|page| (page.address, page.timestamp)).unzip();
            give_list(count, &[(addresses, &found), (timestamps, &when)])
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetRetiredPagesPendingStatus(
    it: nvmlDevice_t,
    out: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    give(out, whole(it).and_then(|gpu| supported(gpu.retirement_pending)).map(nvmlEnableState_t::from))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    it: nvmlDevice_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    give(out, whole(it).and_then(|gpu| supported(gpu.throttle_reasons)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigMode(
    it: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let mode = whole(it).and_then(|gpu| supported(gpu.mig)).map(c_uint::from);
    match give(current, mode) {
        SUCCESS => give(pending, mode),
        code => code,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    // 0 where MIG is not supported or not enabled, says nvml.h.
    give(out, whole(it).map(|gpu| if gpu.mig == Some(true) { MIG_DEVICES_MAX } else { 0 }))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    it: nvmlDevice_t,
    slice: c_uint,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let found = whole(it).and_then(|gpu| {
        supported(gpu.mig)?;
        mig_device(&gpu, slice as usize).ok_or(NOT_FOUND)?;
        Ok(handle(device(it)?.index, Some(slice as usize)))
    });
    give(out, found)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceIsMigDeviceHandle(it: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    give(out, device(it).map(|it| c_uint::from(it.mig.is_some())))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    it: nvmlDevice_t,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    give(out, device(it).and_then(|it| it.mig.map(|_| handle(it.index, None)).ok_or(INVALID_ARGUMENT)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    it: nvmlDevice_t,
    count: *mut c_uint,
    out: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    // No MIG instance, says nvml.h.
    let none = c_uint::MAX;
    match whole(it).and_then(|gpu| supported(gpu.processes)) {
        Err(code) => code,
        Ok(processes) => {
            let (gpuInstanceId, computeInstanceId) = (none, none);
            let found: Vec<_> = processes
                .iter()
                .map(|it| (it.pid, it.memory_used))
                .map(|(pid, usedGpuMemory)| nvmlProcessInfo_t { pid, usedGpuMemory, gpuInstanceId, computeInstanceId })
                .collect();
            give_list(count, &[(out, &found)])
        }
    }
}
