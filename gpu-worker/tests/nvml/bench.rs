//! A machine with two GPUs in a folder, and the patience to see it change.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tintype_fake_nvml::{FakeGpu, Machine, place, place_without};
use tintype_types::worker::Gpu;
use tintype_worker::probe::{GpuProbe, Health, Neighbours, NvmlProbe};

/// What is waited for comes before this or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The folder of one library and its file.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) library: PathBuf,
    machine: Machine,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::without(&[])
    }

    /// With a library that lacks some symbols.
    pub(crate) fn without(symbols: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library =
            if symbols.is_empty() { place(folder.path()) } else { place_without(folder.path(), symbols) }.unwrap();
        let machine = Machine { gpus: vec![gpu("GPU-aa", 24), gpu("GPU-bb", 80)], ..Machine::default() };
        let bench = Self { folder, library, machine };
        bench.machine.write(&bench.file()).unwrap();
        bench
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("gpus.json")
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Machine)) {
        change(&mut self.machine);
        self.machine.write(&self.file()).unwrap();
    }

    /// Raises an XID error.
    pub(crate) fn raise(&mut self, gpu: usize, xid: u64) {
        self.change(|machine| machine.gpus[gpu].xids.get_or_insert_default().push(xid));
    }

    /// Changes it from elsewhere, whenever that is.
    pub(crate) fn change_later(&self, change: fn(&mut Machine)) -> impl FnMut() + Send + 'static {
        let (mut machine, file) = (self.machine.clone(), self.file());
        move || {
            change(&mut machine);
            machine.write(&file).unwrap();
        }
    }

    /// A probe, from a test that must not block.
    pub(crate) async fn start_probe(&self) -> NvmlProbe {
        let library = self.library.clone();
        let starting = move || NvmlProbe::start(Some(&library), Neighbours::Trouble);
        tokio::task::spawn_blocking(starting).await.unwrap().unwrap()
    }

    pub(crate) fn probe(&self) -> NvmlProbe {
        NvmlProbe::start(Some(&self.library), Neighbours::Trouble).unwrap()
    }
}

/// A GPU that is well and tells everything.
pub(crate) fn gpu(uuid: &str, gib: u64) -> FakeGpu {
    FakeGpu {
        uuid: uuid.to_owned(),
        name: format!("NVIDIA Fake {gib}GB"),
        memory_total: gib << 30,
        memory_used: 1 << 30,
        utilisation: Some(12),
        temperature: Some(55),
        slowdown_temperature: Some(90),
        power_milliwatts: Some(70_000),
        power_limit_milliwatts: Some(72_000),
        energy_millijoules: Some(5_000),
        sm_clock: Some(2_040),
        memory_clock: Some(6_251),
        ecc_corrected: Some(2),
        ecc_uncorrected: Some(0),
        retirement_pending: Some(false),
        throttle_reasons: Some(0),
        xids: Some(Vec::new()),
        ..FakeGpu::default()
    }
}

/// Waits for a reading.
pub(crate) fn seen(probe: &NvmlProbe, what: &str, wanted: impl Fn(&[Gpu], &Health) -> bool) {
    let since = Instant::now();
    loop {
        let (gpus, health) = (probe.read(), probe.health().borrow().clone());
        if wanted(&gpus, &health) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{what} was not seen: {gpus:?} {health:?}");
        std::thread::yield_now();
    }
}
