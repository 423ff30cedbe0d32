//! Every function has the type that NVIDIA's header gives it, and is in the library under its name. The first is
//! checked by the compiler: each of ours must fit where the bindings keep theirs.
#![expect(unsafe_code, reason = "the bindings' own loader is unsafe: it trusts the library it is given")]

use std::mem::{align_of, offset_of, size_of};

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::NvmlLib;

use crate::calls::*;
use crate::events::*;
use crate::state;

/// Name, and whether a loaded library has it.
macro_rules! functions {
    ($lib:ident: $($name:ident)*) => {
        [$({
            let mut theirs = $lib.$name.as_ref().ok().copied();
            let found = theirs.is_some();
            theirs.replace($name);
            (stringify!($name), found)
        }),*]
    };
}

fn loaded(lib: &NvmlLib) -> Vec<(&'static str, bool)> {
    functions!(lib:
        nvmlInit_v2 nvmlInitWithFlags nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion nvmlSystemGetNVMLVersion
        nvmlSystemGetCudaDriverVersion_v2 nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetHandleByUUID
        nvmlDeviceGetIndex nvmlDeviceGetMinorNumber nvmlDeviceGetName nvmlDeviceGetUUID nvmlDeviceGetPciInfo_v3
        nvmlDeviceGetCudaComputeCapability nvmlDeviceGetMemoryInfo_v2 nvmlDeviceGetUtilizationRates
        nvmlDeviceGetTemperature nvmlDeviceGetTemperatureThreshold nvmlDeviceGetPowerUsage
        nvmlDeviceGetEnforcedPowerLimit nvmlDeviceGetClockInfo nvmlDeviceGetTotalEnergyConsumption nvmlDeviceGetTotalEccErrors
        nvmlDeviceGetRetiredPages nvmlDeviceGetRetiredPages_v2 nvmlDeviceGetRetiredPagesPendingStatus
        nvmlDeviceGetCurrentClocksThrottleReasons nvmlDeviceGetMigMode nvmlDeviceGetMaxMigDeviceCount
        nvmlDeviceGetMigDeviceHandleByIndex nvmlDeviceIsMigDeviceHandle nvmlDeviceGetDeviceHandleFromMigDeviceHandle
        nvmlDeviceGetComputeRunningProcesses_v3 nvmlEventSetCreate nvmlEventSetFree nvmlDeviceGetSupportedEventTypes
        nvmlDeviceRegisterEvents nvmlEventSetWait_v2
    )
    .to_vec()
}

#[test]
fn each_function_is_exported_and_one_can_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let library = crate::place(folder.path()).unwrap();
    // SAFETY: our own library; loading it runs nothing.
    let lib = unsafe { NvmlLib::new(library) }.unwrap();
    for (name, found) in loaded(&lib) {
        assert!(found, "{name} is not exported");
    }
    let gone = ["nvmlDeviceGetPowerUsage", "nvmlEventSetCreate"];
    let older = tempfile::tempdir().unwrap();
    let library = crate::place_without(older.path(), &gone).unwrap();
    // SAFETY: as above.
    let lib = unsafe { NvmlLib::new(library) }.unwrap();
    for (name, found) in loaded(&lib) {
        assert_eq!(found, !gone.contains(&name), "{name}");
    }
    assert!(crate::place_without(older.path(), &["nvmlNoSuchThing"]).is_err());
}

/// Sizes and numbers as a C compiler (gcc, x86-64) gave them for the nvml.h of CUDA 13.
#[test]
fn layouts_and_numbers_are_those_of_the_c_header() {
    for (name, found, expected) in [
        ("nvmlMemory_v2_t", (size_of::<nvml::nvmlMemory_v2_t>(), align_of::<nvml::nvmlMemory_v2_t>()), (40, 8)),
        ("nvmlPciInfo_t", (size_of::<nvml::nvmlPciInfo_t>(), align_of::<nvml::nvmlPciInfo_t>()), (68, 4)),
        ("nvmlProcessInfo_t", (size_of::<nvml::nvmlProcessInfo_t>(), align_of::<nvml::nvmlProcessInfo_t>()), (24, 8)),
        ("nvmlEventData_t", (size_of::<nvml::nvmlEventData_t>(), align_of::<nvml::nvmlEventData_t>()), (32, 8)),
        ("nvmlUtilization_t", (size_of::<nvml::nvmlUtilization_t>(), align_of::<nvml::nvmlUtilization_t>()), (8, 4)),
    ] {
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(offset_of!(nvml::nvmlMemory_v2_t, free), 24);
    assert_eq!(offset_of!(nvml::nvmlEventData_t, eventData), 16);
    assert_eq!(offset_of!(nvml::nvmlProcessInfo_t, usedGpuMemory), 8);
    let codes = [
        state::UNINITIALIZED,
        state::INVALID_ARGUMENT,
        state::NOT_SUPPORTED,
        state::NOT_FOUND,
        state::INSUFFICIENT_SIZE,
        state::DRIVER_NOT_LOADED,
        state::GPU_IS_LOST,
        state::VERSION_MISMATCH,
    ];
    assert_eq!(codes, [1, 2, 3, 6, 7, 9, 15, 25]);
    assert_eq!(nvml::nvmlEventTypeXidCriticalError, 8);
    assert_eq!((nvml::nvmlClockType_enum_NVML_CLOCK_SM, nvml::nvmlClockType_enum_NVML_CLOCK_MEM), (1, 2));
    assert_eq!(nvml::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, 1);
    assert_eq!(nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED, 1);
}
