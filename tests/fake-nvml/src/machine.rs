//! What the file says: GPUs and how they fare. What is left out is answered with "not supported".

use std::path::Path;

use serde::{Deserialize, Serialize};

/// All there is to be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// The driver's version; 570.86.15 when left out.
    pub driver: Option<String>,
    /// What `nvmlInit` answers: 0, or a code of `nvmlReturn_t`.
    pub init: u32,
    /// In the order of their index.
    pub gpus: Vec<FakeGpu>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeGpu {
    /// Such as `GPU-5a3f...`.
    pub uuid: String,
    /// Such as `NVIDIA L4`.
    pub name: String,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Percent of time a kernel ran.
    pub utilisation: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Degrees Celsius at which the clocks are slowed down.
    pub slowdown_temperature: Option<u32>,
    /// Draw in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Limit in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// Clock of the multiprocessors in MHz.
    pub sm_clock: Option<u32>,
    /// Clock of the memory in MHz.
    pub memory_clock: Option<u32>,
    /// Energy in millijoules since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    /// ECC errors put right since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    /// ECC errors beyond repair since the driver was loaded.
    pub ecc_uncorrected: Option<u64>,
    /// Pages taken out of use after double-bit errors.
    pub retired_pages: Option<Vec<RetiredPage>>,
    /// Whether a page waits for a reset to be taken out of use.
    pub retirement_pending: Option<bool>,
    /// Bits of `nvmlClocksThrottleReasons`.
    pub throttle_reasons: Option<u64>,
    /// Whether it is cut into MIG devices.
    pub mig: Option<bool>,
    /// Its MIG devices, while `mig` is true.
    pub mig_devices: Vec<MigDevice>,
    /// Processes that compute on it.
    pub processes: Option<Vec<Process>>,
    /// Critical XID errors so far: append one to raise it.
    pub xids: Option<Vec<u64>>,
    /// Whether it has fallen off the bus.
    pub lost: bool,
}

/// A slice of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MigDevice {
    /// Such as `MIG-7c1d...`.
    pub uuid: String,
    /// Such as `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
    pub name: String,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory in use, in bytes.
    pub memory_used: u64,
}

/// A process on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Memory it holds, in bytes.
    pub memory_used: u64,
}

/// A page out of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredPage {
    /// Where.
    pub address: u64,
    /// When, in seconds since 1970.
    pub timestamp: u64,
}

impl Machine {
    /// Puts the file in place in one move: a reader sees the old machine or the new one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        let new = file.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, file)
    }

    /// # Errors
    /// A file that is missing or says something else.
    pub(crate) fn read(file: &Path) -> std::io::Result<Self> {
        serde_json::from_slice(&std::fs::read(file)?).map_err(std::io::Error::other)
    }
}
