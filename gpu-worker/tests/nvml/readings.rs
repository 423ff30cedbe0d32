//! What the probe reads of GPUs that are well, ill, cut up, or old.

use tintype_fake_nvml::{Machine, MigDevice, Process};
use tintype_types::worker::ThrottleReason;
use tintype_worker::probe::{self, FaultKind, GpuProbe as _, Neighbours, NvmlProbe, Trouble};

use crate::bench::{Bench, gpu, seen};

/// The driver's `NVML_ERROR_LIB_RM_VERSION_MISMATCH`: it was updated and not reloaded.
const MISMATCH: u32 = 18;

#[test]
fn two_gpus_are_read_right_and_again() {
    let mut bench = Bench::new();
    let probe = bench.probe();
    let gpus = probe.read();
    assert_eq!(gpus.len(), 2);
    let second = &gpus[1];
    assert_eq!((&*second.uuid, &*second.name), ("GPU-bb", "NVIDIA Fake 80GB"));
    assert_eq!((second.vram_total_bytes, second.vram_free_bytes), (80 << 30, 79 << 30));
    assert_eq!((second.utilisation_percent, second.temperature_celsius), (Some(12), Some(55)));
    assert_eq!((second.power_milliwatts, second.xid_count), (Some(70_000), 0));
    assert_eq!((second.power_limit_milliwatts, second.energy_millijoules), (Some(72_000), Some(5_000)));
    assert_eq!((second.sm_clock_mhz, second.memory_clock_mhz), (Some(2_040), Some(6_251)));
    assert_eq!((second.ecc_corrected, second.ecc_uncorrected), (Some(2), Some(0)));
    assert_eq!((second.last_xid, &second.mig_of, second.throttle_reasons.len()), (None, &None, 0));
    assert_eq!((&*gpus[0].uuid, gpus[0].vram_total_bytes), ("GPU-aa", 24 << 30));
    assert_eq!(*probe.health().borrow(), probe::Health::default());
    bench.change(|machine| machine.gpus[0].memory_used = 20 << 30);
    seen(&probe, "less memory", |gpus, _| gpus[0].vram_free_bytes == 4 << 30);
    // NVML's bits: 0x4 is the power cap, 0x40 the hardware's thermal slowdown, 0x8000 nothing there is.
    bench.change(|machine| machine.gpus[1].throttle_reasons = Some(0x8044));
    seen(&probe, "what keeps the clocks down", |gpus, _| {
        gpus[1].throttle_reasons == [ThrottleReason::SwPowerCap, ThrottleReason::HwThermalSlowdown]
    });
}

#[test]
fn what_is_not_supported_is_left_out() {
    let mut bench = Bench::new();
    bench.change(|machine| {
        let gpu = &mut machine.gpus[0];
        (gpu.utilisation, gpu.temperature, gpu.slowdown_temperature) = (None, None, None);
        (gpu.power_milliwatts, gpu.ecc_uncorrected, gpu.throttle_reasons) = (None, None, None);
        (gpu.xids, gpu.retirement_pending) = (None, None);
        (gpu.sm_clock, gpu.memory_clock, gpu.ecc_corrected) = (None, None, None);
    });
    let probe = bench.probe();
    let gpus = probe.read();
    assert_eq!(
        (gpus[0].utilisation_percent, gpus[0].temperature_celsius, gpus[0].power_milliwatts),
        (None, None, None)
    );
    let ecc = (gpus[0].ecc_corrected, gpus[0].ecc_uncorrected);
    assert_eq!((gpus[0].sm_clock_mhz, gpus[0].memory_clock_mhz, ecc), (None, None, (None, None)));
    assert_eq!(gpus[0].vram_free_bytes, 23 << 30);
    assert_eq!(gpus[1].temperature_celsius, Some(55));
    assert_eq!(probe.health().borrow().trouble, None);
    // A GPU without events does not keep those of its neighbour away.
    bench.raise(1, 31);
    seen(&probe, "the XID error", |gpus, _| gpus[1].xid_count == 1);
}

#[test]
fn an_old_library_is_read_as_far_as_it_goes() {
    let bench =
        Bench::without(&["nvmlDeviceGetPowerUsage", "nvmlDeviceGetMigMode", "nvmlDeviceGetTemperatureThreshold"]);
    let gpus = bench.probe().read();
    assert_eq!((gpus[0].power_milliwatts, gpus[0].temperature_celsius), (None, Some(55)));
    for symbol in ["nvmlEventSetCreate", "nvmlEventSetWait_v2", "nvmlDeviceRegisterEvents"] {
        let mut bench = Bench::without(&[symbol]);
        let probe = bench.probe();
        bench.change(|machine| machine.gpus[0].temperature = Some(77));
        seen(&probe, "a reading without events", |gpus, _| gpus[0].temperature_celsius == Some(77));
    }
}

#[test]
fn an_xid_error_is_counted_once() {
    let mut bench = Bench::new();
    let probe = bench.probe();
    bench.raise(1, 43);
    seen(&probe, "the XID error", |gpus, _| gpus[1].xid_count == 1 && gpus[1].last_xid == Some(43));
    bench.change(|machine| machine.gpus[1].xids = Some(vec![43, 45, 45]));
    seen(&probe, "both", |gpus, health| gpus[1].xid_count == 3 && health.faults.get(&FaultKind::Xid) == Some(&3));
    assert_eq!(probe.read()[0].xid_count, 0);
    assert_eq!(probe.health().borrow().trouble, None, "the GPU in use is the first one");
    bench.raise(0, 13);
    seen(&probe, "the fault", |_, health| {
        health.trouble.as_ref().is_some_and(|trouble| trouble.to_string().contains("XID 13"))
    });
}

#[test]
fn a_lost_gpu_stays_listed_with_nothing_free_and_may_come_back() {
    let mut bench = Bench::new();
    let probe = bench.probe();
    bench.change(|machine| {
        machine.gpus[0].lost = true;
        machine.gpus[0].xids = Some(vec![79]);
    });
    seen(&probe, "the loss", |gpus, health| gpus[0].vram_free_bytes == 0 && health.trouble.is_some());
    // A lost GPU does not say its name; the error is its own all the same.
    seen(&probe, "the XID error", |gpus, _| gpus[0].xid_count == 1);
    let gpus = probe.read();
    assert_eq!((&*gpus[0].uuid, gpus[0].vram_total_bytes, gpus[0].temperature_celsius), ("GPU-aa", 24 << 30, None));
    assert_eq!((gpus[1].vram_free_bytes, gpus[1].xid_count), (79 << 30, 0));
    assert_eq!(probe.health().borrow().faults[&FaultKind::Lost], 1);
    // The others still tell their errors.
    bench.raise(1, 31);
    seen(&probe, "the neighbour's error", |gpus, _| gpus[1].xid_count == 1);
    bench.change(|machine| machine.gpus[0].lost = false);
    seen(&probe, "the return", |gpus, health| gpus[0].vram_free_bytes == 23 << 30 && health.trouble.is_none());
    bench.raise(0, 31);
    seen(&probe, "an error after the return", |gpus, _| gpus[0].xid_count == 2);
}

#[test]
fn a_driver_that_goes_away_and_comes_back_is_found_again() {
    let mut bench = Bench::new();
    let probe = bench.probe();
    bench.change(|machine| machine.init = MISMATCH);
    bench.change(|machine| machine.gpus.iter_mut().for_each(|gpu| gpu.lost = true));
    seen(&probe, "the loss", |gpus, health| gpus.len() == 2 && health.faults.get(&FaultKind::Lost) == Some(&2));
    bench.change(|machine| {
        machine.init = 0;
        machine.gpus = vec![gpu("GPU-aa", 24), gpu("GPU-cc", 40)];
    });
    seen(&probe, "the new GPU", |gpus, health| &*gpus[1].uuid == "GPU-cc" && health.trouble.is_none());
    bench.raise(1, 31);
    seen(&probe, "its error", |gpus, _| gpus[1].xid_count == 1);
}

#[test]
fn a_gpu_that_was_lost_before_the_start_is_trouble() {
    let mut bench = Bench::new();
    bench.change(|machine| machine.gpus[0].lost = true);
    let probe = bench.probe();
    assert_eq!((probe.read().len(), &*probe.read()[0].uuid), (2, "gpu-0"));
    assert!(probe.health().borrow().trouble.is_some());
}

#[test]
fn a_library_that_loads_and_does_not_start_says_why() {
    let mut bench = Bench::new();
    bench.change(|machine| machine.init = MISMATCH);
    let error = NvmlProbe::start(Some(&bench.library), Neighbours::Trouble).unwrap_err().to_string();
    assert!(error.contains("version mismatch"), "{error}");
    assert!(
        probe::find(Some(&bench.library), Neighbours::Trouble).is_err(),
        "who names a library does not mean the CPU"
    );
    bench.change(|machine| *machine = Machine::default());
    let error = NvmlProbe::start(Some(&bench.library), Neighbours::Trouble).unwrap_err().to_string();
    assert!(error.contains("no GPU"), "{error}");
    std::fs::write(&bench.library, "no library").unwrap();
    assert!(NvmlProbe::start(Some(&bench.library), Neighbours::Trouble).is_err());
}

#[test]
fn mig_devices_stand_for_the_gpu_they_are_cut_from() {
    let mut bench = Bench::new();
    let slice = |uuid: &str, gib: u64| MigDevice {
        uuid: uuid.to_owned(),
        name: format!("NVIDIA Fake MIG 1g.{gib}gb"),
        memory_total: gib << 30,
        memory_used: 0,
    };
    bench.change(|machine| {
        machine.gpus[0].mig = Some(true);
        machine.gpus[0].mig_devices = vec![slice("MIG-1", 10), slice("MIG-2", 20)];
        machine.gpus[1].mig = Some(false);
    });
    let probe = bench.probe();
    let gpus = probe.read();
    let names: Vec<_> = gpus.iter().map(|gpu| (&*gpu.uuid, gpu.vram_free_bytes >> 30)).collect();
    assert_eq!(names, [("MIG-1", 10), ("MIG-2", 20), ("GPU-bb", 79)]);
    assert_eq!((gpus[0].temperature_celsius, gpus[0].utilisation_percent), (Some(55), None));
    assert_eq!((gpus[1].mig_of.as_deref(), &gpus[2].mig_of), (Some("GPU-aa"), &None));
    bench.raise(0, 31);
    seen(&probe, "the error", |gpus, health| {
        gpus[0].xid_count == 1 && gpus[1].xid_count == 1 && health.trouble.is_some()
    });
    assert_eq!(probe.read()[2].xid_count, 0);
    // Cut anew under a process that was started on the slices of before.
    bench.change(|machine| machine.gpus[0].mig_devices = vec![slice("MIG-3", 40)]);
    seen(&probe, "the new cut", |gpus, health| {
        gpus[0].uuid == "MIG-3" && health.faults.get(&FaultKind::Recut) == Some(&1)
    });
}

#[test]
fn others_on_the_gpu_are_trouble_unless_it_is_shared() {
    let mut bench = Bench::new();
    let (probe, sharing) = (bench.probe(), NvmlProbe::start(Some(&bench.library), Neighbours::Welcome).unwrap());
    let process = |pid, gib: u64| Process { pid, memory_used: gib << 30 };
    // This process may take what it wants, and a little one may be there.
    bench.change(|machine| machine.gpus[0].processes = Some(vec![process(std::process::id(), 20), process(1, 2)]));
    bench.raise(1, 31);
    seen(&probe, "the change", |gpus, _| gpus[1].xid_count == 1);
    assert_eq!(probe.health().borrow().trouble, None);
    bench.change(|machine| machine.gpus[0].processes = Some(vec![process(1, 2), process(2, 4)]));
    seen(&probe, "the others", |_, health| health.trouble == Some(Trouble::Crowded { bytes: 6 << 30 }));
    bench.raise(1, 32);
    seen(&sharing, "the change", |gpus, _| gpus[1].xid_count == 2);
    assert_eq!(sharing.health().borrow().trouble, None);
    bench.change(|machine| machine.gpus[0].processes = Some(Vec::new()));
    seen(&probe, "their end", |_, health| health.trouble.is_none());
}
