//! Between the calls and the file: where it is, what a handle stands for, and how an answer gets out.
#![expect(unsafe_code, reason = "pointers that a C caller hands over are written through here, and only here")]

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{nvmlDevice_st, nvmlDevice_t, nvmlReturn_t};

use crate::machine::{FakeGpu, Machine, MigDevice};

pub(crate) const SUCCESS: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_SUCCESS;
pub(crate) const UNINITIALIZED: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
pub(crate) const INVALID_ARGUMENT: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
pub(crate) const NOT_SUPPORTED: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
pub(crate) const NOT_FOUND: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
pub(crate) const INSUFFICIENT_SIZE: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
pub(crate) const DRIVER_NOT_LOADED: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED;
pub(crate) const GPU_IS_LOST: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
pub(crate) const VERSION_MISMATCH: nvmlReturn_t = nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;

/// A handle is a number: the GPU's index and one in the low half, the MIG device's index and one above.
const MIG_SHIFT: u32 = 16;

/// How often it was initialised and not yet shut down.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// An answer, or the code of what is wrong.
pub(crate) type Answer<T> = Result<T, nvmlReturn_t>;

pub(crate) fn start() -> nvmlReturn_t {
    match Machine::read(&file()) {
        Ok(machine) if machine.init == SUCCESS => {
            STARTED.fetch_add(1, Ordering::SeqCst);
            SUCCESS
        }
        Ok(machine) => machine.init,
        Err(_) => DRIVER_NOT_LOADED,
    }
}

pub(crate) fn stop() -> nvmlReturn_t {
    let stopped = STARTED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    if stopped.is_ok() { SUCCESS } else { UNINITIALIZED }
}

/// The machine as the file has it now.
pub(crate) fn machine() -> Answer<Machine> {
    if STARTED.load(Ordering::SeqCst) == 0 {
        return Err(UNINITIALIZED);
    }
    Machine::read(&file()).map_err(|_| nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN)
}

fn file() -> PathBuf {
    std::env::var_os("TINTYPE_FAKE_NVML")
        .map(PathBuf::from)
        .or_else(|| Some(own_path()?.with_file_name("gpus.json")))
        .unwrap_or_default()
}

/// Where this library was loaded from.
fn own_path() -> Option<PathBuf> {
    // SAFETY: a struct of pointers and integers, for which zero is a value.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address lies in this library and `info` is ours to write.
    let found = unsafe { libc::dladdr(own_path as *const c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name, with its zero, as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    name.to_str().ok().map(|name| Path::new(name).to_owned())
}

pub(crate) fn handle(gpu: usize, mig: Option<usize>) -> nvmlDevice_t {
    let number = (gpu + 1) | mig.map_or(0, |mig| (mig + 1) << MIG_SHIFT);
    std::ptr::without_provenance_mut::<nvmlDevice_st>(number)
}

/// What a handle stands for, while it is there.
pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) gpu: FakeGpu,
    /// The MIG device, when it is one; its index on the GPU first.
    pub(crate) mig: Option<(usize, MigDevice)>,
}

pub(crate) fn device(handle: nvmlDevice_t) -> Answer<Device> {
    let number = handle.addr();
    let index = (number & ((1 << MIG_SHIFT) - 1)).checked_sub(1).ok_or(INVALID_ARGUMENT)?;
    let gpu = machine()?.gpus.into_iter().nth(index).ok_or(INVALID_ARGUMENT)?;
    if gpu.lost {
        return Err(GPU_IS_LOST);
    }
    let mig = match (number >> MIG_SHIFT).checked_sub(1) {
        None => None,
        Some(slice) => Some((slice, mig_device(&gpu, slice).ok_or(INVALID_ARGUMENT)?)),
    };
    Ok(Device { index, gpu, mig })
}

/// A whole GPU: MIG devices have no sensors, no events and no MIG devices.
pub(crate) fn whole(handle: nvmlDevice_t) -> Answer<FakeGpu> {
    let device = device(handle)?;
    if device.mig.is_some() { Err(NOT_SUPPORTED) } else { Ok(device.gpu) }
}

pub(crate) fn mig_device(gpu: &FakeGpu, slice: usize) -> Option<MigDevice> {
    if gpu.mig == Some(true) { gpu.mig_devices.get(slice).cloned() } else { None }
}

pub(crate) fn supported<T>(value: Option<T>) -> Answer<T> {
    value.ok_or(NOT_SUPPORTED)
}

/// Writes an answer to where the caller wants it.
pub(crate) fn give<T>(out: *mut T, answer: Answer<T>) -> nvmlReturn_t {
    match answer {
        Err(code) => code,
        Ok(_) if out.is_null() => INVALID_ARGUMENT,
        Ok(value) => {
            // SAFETY: by NVML's contract the caller's pointer is good for one value; null was ruled out.
            unsafe { out.write(value) };
            SUCCESS
        }
    }
}

/// Reads what the caller has put there.
pub(crate) fn taken<T: Copy>(from: *mut T) -> Answer<T> {
    if from.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: by NVML's contract the caller's pointer holds one value; null was ruled out.
    Ok(unsafe { from.read() })
}

/// Writes a string and its zero, if there is room.
pub(crate) fn give_text(out: *mut c_char, room: c_uint, answer: Answer<String>) -> nvmlReturn_t {
    let text = match answer {
        Err(code) => return code,
        Ok(text) => text,
    };
    if out.is_null() {
        return INVALID_ARGUMENT;
    }
    if text.len() >= room as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the caller has `room` bytes there, more than the text has; one is left for the zero.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), out, text.len());
        out.add(text.len()).write(0);
    }
    SUCCESS
}

/// Writes a list by NVML's custom: `count` brings the room and takes the length; too little room is told with the
/// length needed.
pub(crate) fn give_list<T: Copy>(count: *mut c_uint, outs: &[(*mut T, &[T])]) -> nvmlReturn_t {
    let length = outs.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let room = match taken(count) {
        Ok(room) => room as usize,
        Err(code) => return code,
    };
    give(count, Ok(length as c_uint));
    if length > room {
        return INSUFFICIENT_SIZE;
    }
    if length > 0 && outs.iter().any(|(out, _)| out.is_null()) {
        return INVALID_ARGUMENT;
    }
    for (out, values) in outs.iter().filter(|(_, values)| !values.is_empty()) {
        // SAFETY: the caller has room for `room` values, which are enough; null was ruled out.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), *out, values.len()) };
    }
    SUCCESS
}
