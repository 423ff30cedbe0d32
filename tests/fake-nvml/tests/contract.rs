//! The stand-in under `nvml-wrapper`, the library that the worker uses: what the file says is what is read.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, RetirementCause, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use tintype_fake_nvml::{FakeGpu, Machine, MigDevice, Process, RetiredPage, place};

fn machine() -> Machine {
    let full = FakeGpu {
        uuid: "GPU-aa".to_owned(),
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory_total: 80 << 30,
        memory_used: 8 << 30,
        utilisation: Some(17),
        temperature: Some(61),
        slowdown_temperature: Some(90),
        power_milliwatts: Some(350_000),
        power_limit_milliwatts: Some(700_000),
        energy_millijoules: Some(5_000_000_000),
        sm_clock: Some(1_980),
        memory_clock: Some(2_619),
        ecc_corrected: Some(3),
        ecc_uncorrected: Some(1),
        retired_pages: Some(vec![RetiredPage { address: 0x1000, timestamp: 77 }]),
        retirement_pending: Some(true),
        throttle_reasons: Some(0x40),
        mig: Some(true),
        mig_devices: vec![MigDevice {
            uuid: "MIG-bb".to_owned(),
            name: "NVIDIA H100 80GB HBM3 MIG 1g.10gb".to_owned(),
            memory_total: 10 << 30,
            memory_used: 1 << 30,
        }],
        processes: Some(vec![Process { pid: 4711, memory_used: 123 }, Process { pid: 4712, memory_used: 456 }]),
        xids: Some(vec![31]),
        lost: false,
    };
    let bare = FakeGpu {
        uuid: "GPU-cc".to_owned(),
        name: "NVIDIA L4".to_owned(),
        memory_total: 24 << 30,
        ..FakeGpu::default()
    };
    Machine { gpus: vec![full, bare], ..Machine::default() }
}

struct Bench {
    folder: tempfile::TempDir,
    nvml: Nvml,
}

impl Bench {
    fn with(machine: &Machine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        machine.write(&folder.path().join("gpus.json")).unwrap();
        let library = place(folder.path()).unwrap();
        let nvml = Nvml::builder().lib_path(library.as_os_str()).init().unwrap();
        Self { folder, nvml }
    }

    fn set(&self, machine: &Machine) {
        machine.write(&self.folder.path().join("gpus.json")).unwrap();
    }
}

#[test]
fn all_that_the_file_says_is_read() {
    let bench = Bench::with(&machine());
    let nvml = &bench.nvml;
    assert_eq!((nvml.device_count().unwrap(), &*nvml.sys_driver_version().unwrap()), (2, "570.86.15"));
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12_080);
    let gpu = nvml.device_by_index(0).unwrap();
    assert_eq!((&*gpu.uuid().unwrap(), &*gpu.name().unwrap()), ("GPU-aa", "NVIDIA H100 80GB HBM3"));
    let memory = gpu.memory_info().unwrap();
    assert_eq!((memory.total, memory.free, memory.used), (80 << 30, 72 << 30, 8 << 30));
    assert_eq!(gpu.utilization_rates().unwrap().gpu, 17);
    assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 61);
    assert_eq!(gpu.temperature_threshold(TemperatureThreshold::Slowdown).unwrap(), 90);
    assert_eq!((gpu.power_usage().unwrap(), gpu.enforced_power_limit().unwrap()), (350_000, 700_000));
    assert_eq!((gpu.clock_info(Clock::SM).unwrap(), gpu.clock_info(Clock::Memory).unwrap()), (1_980, 2_619));
    assert_eq!(gpu.total_energy_consumption().unwrap(), 5_000_000_000);
    assert_eq!(gpu.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile).unwrap(), 3);
    assert_eq!(gpu.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap(), 1);
    let pages = gpu.retired_pages(RetirementCause::DoubleBitEccError).unwrap();
    assert_eq!(pages.iter().map(|page| (page.address, page.timestamp)).collect::<Vec<_>>(), [(0x1000, 77)]);
    assert!(gpu.are_pages_pending_retired().unwrap());
    assert_eq!(gpu.current_throttle_reasons().unwrap().bits(), 0x40);
    assert_eq!((gpu.index().unwrap(), gpu.minor_number().unwrap()), (0, 0));
    assert_eq!(gpu.pci_info().unwrap().bus_id, "00000000:01:00.0");
    assert_eq!(gpu.cuda_compute_capability().unwrap().major, 8);
    let processes = gpu.running_compute_processes().unwrap();
    assert_eq!(processes.iter().map(|it| it.pid).collect::<Vec<_>>(), [4711, 4712]);
    assert_eq!(nvml.device_by_uuid("GPU-cc").unwrap().name().unwrap(), "NVIDIA L4");
    assert!(matches!(nvml.device_by_uuid("GPU-none"), Err(NvmlError::NotFound)));
    assert!(matches!(nvml.device_by_index(2), Err(NvmlError::InvalidArg)));
}

#[test]
fn a_mig_device_has_a_name_and_memory_and_no_sensors() {
    let bench = Bench::with(&machine());
    let gpu = bench.nvml.device_by_index(0).unwrap();
    assert_eq!((gpu.mig_mode().unwrap().current, gpu.mig_device_count().unwrap()), (1, 7));
    let slice = gpu.mig_device_by_index(0).unwrap();
    assert!(matches!(gpu.mig_device_by_index(1), Err(NvmlError::NotFound)));
    assert!(slice.mig_is_mig_device_handle().unwrap() && !gpu.mig_is_mig_device_handle().unwrap());
    assert_eq!((&*slice.uuid().unwrap(), slice.memory_info().unwrap().free), ("MIG-bb", 9 << 30));
    assert!(matches!(slice.temperature(TemperatureSensor::Gpu), Err(NvmlError::NotSupported)));
    assert_eq!(slice.mig_parent_device().unwrap().uuid().unwrap(), "GPU-aa");
    assert_eq!(bench.nvml.device_by_uuid("MIG-bb").unwrap().uuid().unwrap(), "MIG-bb");
    assert_eq!(bench.nvml.device_by_index(1).unwrap().mig_device_count().unwrap(), 0);
}

#[test]
fn what_the_file_leaves_out_is_not_supported() {
    let bench = Bench::with(&machine());
    let bare = bench.nvml.device_by_index(1).unwrap();
    let answers = [
        bare.temperature(TemperatureSensor::Gpu).map(u64::from),
        bare.power_usage().map(u64::from),
        bare.utilization_rates().map(|rates| rates.gpu.into()),
        bare.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile),
        bare.current_throttle_reasons().map(|reasons| reasons.bits()),
        bare.running_compute_processes().map(|processes| processes.len() as u64),
        bare.mig_mode().map(|mode| mode.current.into()),
        bare.supported_event_types().map(|types| types.bits()),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Err(NvmlError::NotSupported)), "{number}: {answer:?}");
    }
}

#[test]
fn xid_errors_come_as_events_and_a_lost_gpu_answers_nothing() {
    let mut now = machine();
    let bench = Bench::with(&now);
    let set = bench.nvml.create_event_set().unwrap();
    let gpu = bench.nvml.device_by_index(0).unwrap();
    let set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
    // What came before the registration is not told.
    assert!(matches!(set.wait(20), Err(NvmlError::Timeout)));
    now.gpus[0].xids = Some(vec![31, 79]);
    now.gpus[0].lost = true;
    let raised = std::thread::scope(|scope| {
        scope.spawn(|| bench.set(&now));
        set.wait(10_000).map(|event| event.event_data)
    });
    assert_eq!(raised.unwrap(), Some(XidError::Value(79)));
    assert!(matches!(set.wait(20), Err(NvmlError::GpuLost)));
    assert!(matches!(gpu.memory_info(), Err(NvmlError::GpuLost)));
    assert!(matches!(bench.nvml.device_by_index(0), Err(NvmlError::GpuLost)));
    assert_eq!(bench.nvml.device_by_index(1).unwrap().uuid().unwrap(), "GPU-cc");
    assert_eq!(bench.nvml.device_count().unwrap(), 2);
}

#[test]
fn a_driver_that_will_not_start_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let library = place(folder.path()).unwrap();
    let start = || Nvml::builder().lib_path(library.as_os_str()).init();
    assert!(matches!(start(), Err(NvmlError::DriverNotLoaded)));
    for (code, expected) in [(18, "mismatch"), (4, "permission"), (999, "internal")] {
        Machine { init: code, ..machine() }.write(&folder.path().join("gpus.json")).unwrap();
        let error = start().unwrap_err().to_string();
        assert!(error.contains(expected), "{code}: {error}");
    }
    machine().write(&folder.path().join("gpus.json")).unwrap();
    assert_eq!(start().unwrap().device_count().unwrap(), 2);
}
