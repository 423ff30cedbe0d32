//! Event sets: a set remembers how many XID errors of each GPU it has told, and a wait looks for more.
#![expect(unsafe_code, reason = "exported under NVIDIA's names and called from C; pointers are used in `state` alone")]

use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_st, nvmlEventSet_t, nvmlEventTypeXidCriticalError, nvmlReturn_t,
};

use crate::machine::Machine;
use crate::state::{
    Answer, GPU_IS_LOST, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, device, give, handle, machine, supported, whole,
};

const TIMEOUT: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT;
/// How often a wait looks at the file.
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Most sets open at once.
const SETS_MAX: usize = 64;

/// GPU index to XID errors told so far.
type Told = BTreeMap<usize, usize>;

/// Open sets by their handle.
static SETS: Mutex<BTreeMap<usize, Told>> = Mutex::new(BTreeMap::new());

fn with_set<T>(set: nvmlEventSet_t, work: impl FnOnce(&mut Told) -> Answer<T>) -> Answer<T> {
    let mut sets = SETS.lock().unwrap_or_else(PoisonError::into_inner);
    work(sets.get_mut(&set.addr()).ok_or(INVALID_ARGUMENT)?)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetCreate(out: *mut nvmlEventSet_t) -> nvmlReturn_t {
    let open = machine().and_then(|_| {
        let mut sets = SETS.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.len() >= SETS_MAX {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_RESOURCES);
        }
        let number = sets.last_key_value().map_or(1, |(last, _)| last + 1);
        sets.insert(number, Told::new());
        Ok(std::ptr::without_provenance_mut::<nvmlEventSet_st>(number))
    });
    give(out, open)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    let freed = SETS.lock().unwrap_or_else(PoisonError::into_inner).remove(&set.addr());
    if freed.is_some() { SUCCESS } else { INVALID_ARGUMENT }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetSupportedEventTypes(
    it: nvmlDevice_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    let types = whole(it).and_then(|gpu| supported(gpu.xids));
    give(out, types.map(|_| c_ulonglong::from(nvmlEventTypeXidCriticalError)))
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceRegisterEvents(
    it: nvmlDevice_t,
    types: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    let registered = whole(it).and_then(|gpu| supported(gpu.xids)).and_then(|xids| {
        if types != c_ulonglong::from(nvmlEventTypeXidCriticalError) {
            return Err(NOT_SUPPORTED);
        }
        let index = device(it)?.index;
        // Errors from before the registration are not told.
        with_set(set, |told| {
            told.entry(index).or_insert(xids.len());
            Ok(())
        })
    });
    registered.err().unwrap_or(SUCCESS)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    out: *mut nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let until = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    loop {
        let event = machine().and_then(|machine| with_set(set, |told| next(&machine, told)));
        match event {
            Ok(Some(event)) => return give(out, Ok(event)),
            Ok(None) if Instant::now() >= until => return TIMEOUT,
            Ok(None) => std::thread::sleep(LOOK_PERIOD),
            Err(code) => return code,
        }
    }
}

/// An XID error not told yet. Of the readings that nvml.h leaves open the harshest is taken: a set that holds a lost GPU
/// tells that GPU's own errors and then only that it is lost.
fn next(machine: &Machine, told: &mut Told) -> Answer<Option<nvmlEventData_t>> {
    let is_lost = |index: &usize| machine.gpus.get(*index).is_none_or(|gpu| gpu.lost);
    let any_lost = told.keys().any(is_lost);
    for (index, told) in told.iter_mut().filter(|(index, _)| !any_lost || is_lost(index)) {
        let xids = machine.gpus.get(*index).and_then(|gpu| gpu.xids.as_deref()).unwrap_or_default();
        let Some(last) = xids.last().filter(|_| xids.len() > *told) else { continue };
        *told += 1;
        return Ok(Some(nvmlEventData_t {
            device: handle(*index, None),
            eventType: c_ulonglong::from(nvmlEventTypeXidCriticalError),
            // The last one seen stands for all of them, says nvml.h.
            eventData: *last,
            gpuInstanceId: c_uint::MAX,
            computeInstanceId: c_uint::MAX,
        }));
    }
    if any_lost { Err(GPU_IS_LOST) } else { Ok(None) }
}
