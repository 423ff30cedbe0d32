//! The GPUs as Prometheus sees them: read anew at each scrape, under our names and, where wanted, under those of NVIDIA's
//! dcgm-exporter, so that dashboards made for it show this worker too.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};
use tintype_types::worker::{Gpu, ThrottleReason};

use crate::probe::GpuProbe;

/// Bytes in the mebibytes that dcgm-exporter counts memory in.
const MEBIBYTE: f64 = 1_048_576.0;

/// One number of a GPU, under one name.
struct Field {
    name: &'static str,
    help: &'static str,
    /// Nothing where the GPU cannot tell.
    read: fn(&Gpu) -> Option<f64>,
}

const OURS: [Field; 11] = [
    Field {
        name: "tintype_worker_gpu_utilization_ratio",
        help: "Part of the time in which the GPU was busy, 0 to 1",
        read: |gpu| gpu.utilisation_percent.map(|percent| f64::from(percent) / 100.0),
    },
    Field {
        name: "tintype_worker_gpu_memory_used_bytes",
        help: "Memory of the GPU that somebody uses, us or others",
        read: |gpu| Some(used(gpu)),
    },
    Field {
        name: "tintype_worker_gpu_memory_total_bytes",
        help: "Memory of the GPU",
        read: |gpu| Some(gpu.vram_total_bytes as f64),
    },
    Field {
        name: "tintype_worker_gpu_temperature_celsius",
        help: "Temperature of the GPU",
        read: |gpu| gpu.temperature_celsius.map(f64::from),
    },
    Field {
        name: "tintype_worker_gpu_power_watts",
        help: "Power the GPU draws",
        read: |gpu| gpu.power_milliwatts.map(watts),
    },
    Field {
        name: "tintype_worker_gpu_power_limit_watts",
        help: "Power the GPU may draw",
        read: |gpu| gpu.power_limit_milliwatts.map(watts),
    },
    Field {
        name: "tintype_worker_gpu_energy_joules",
        help: "Energy the GPU has used since its driver was loaded",
        read: |gpu| gpu.energy_millijoules.map(|millijoules| millijoules as f64 / 1e3),
    },
    Field {
        name: "tintype_worker_gpu_sm_clock_hertz",
        help: "Clock of the GPU's multiprocessors",
        read: |gpu| gpu.sm_clock_mhz.map(|mhz| f64::from(mhz) * 1e6),
    },
    Field {
        name: "tintype_worker_gpu_memory_clock_hertz",
        help: "Clock of the GPU's memory",
        read: |gpu| gpu.memory_clock_mhz.map(|mhz| f64::from(mhz) * 1e6),
    },
    Field {
        name: "tintype_worker_gpu_foreign_memory_bytes",
        help: "Memory of the GPU that other processes hold",
        read: |gpu| gpu.foreign_bytes.map(|bytes| bytes as f64),
    },
    Field {
        name: "tintype_worker_gpu_xid_faults",
        help: "XID faults of the GPU since the worker started",
        read: |gpu| Some(f64::from(gpu.xid_count)),
    },
];

/// Names and units of dcgm-exporter (its `default-counters.csv`, those in it that are off by default included).
const DCGM: [Field; 14] = [
    Field {
        name: "DCGM_FI_DEV_GPU_UTIL",
        help: "GPU utilization (in %).",
        read: |gpu| gpu.utilisation_percent.map(f64::from),
    },
    Field {
        name: "DCGM_FI_DEV_FB_USED",
        help: "Framebuffer memory used (in MiB).",
        read: |gpu| Some((used(gpu) / MEBIBYTE).floor()),
    },
    Field {
        name: "DCGM_FI_DEV_FB_FREE",
        help: "Framebuffer memory free (in MiB).",
        read: |gpu| Some((gpu.vram_free_bytes as f64 / MEBIBYTE).floor()),
    },
    Field {
        name: "DCGM_FI_DEV_GPU_TEMP",
        help: "GPU temperature (in C).",
        read: |gpu| gpu.temperature_celsius.map(f64::from),
    },
    Field { name: "DCGM_FI_DEV_POWER_USAGE", help: "Power draw (in W).", read: |gpu| gpu.power_milliwatts.map(watts) },
    Field {
        name: "DCGM_FI_DEV_MEM_COPY_UTIL",
        help: "Memory utilization (in %).",
        read: |gpu| gpu.memory_utilisation_percent.map(f64::from),
    },
    Field {
        name: "DCGM_FI_DEV_SM_CLOCK",
        help: "SM clock frequency (in MHz).",
        read: |gpu| gpu.sm_clock_mhz.map(f64::from),
    },
    Field {
        name: "DCGM_FI_DEV_MEM_CLOCK",
        help: "Memory clock frequency (in MHz).",
        read: |gpu| gpu.memory_clock_mhz.map(f64::from),
    },
    Field {
        name: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        help: "Total energy consumption since boot (in mJ).",
        read: |gpu| gpu.energy_millijoules.map(|millijoules| millijoules as f64),
    },
    Field {
        name: "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        help: "Power limit (in W).",
        read: |gpu| gpu.power_limit_milliwatts.map(watts),
    },
    Field {
        name: "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
        help: "Why the clocks are down, as the bits of NVML.",
        read: |gpu| {
            let bits = gpu.throttle_reasons.iter().map(|reason| 1_u32 << *reason as u32);
            Some(f64::from(bits.sum::<u32>()))
        },
    },
    Field {
        name: "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        help: "Total number of single-bit volatile ECC errors.",
        read: |gpu| gpu.ecc_corrected.map(|errors| errors as f64),
    },
    Field {
        name: "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        help: "Total number of double-bit volatile ECC errors.",
        read: |gpu| gpu.ecc_uncorrected.map(|errors| errors as f64),
    },
    Field {
        name: "DCGM_FI_DEV_XID_ERRORS",
        help: "Value of the last XID error encountered.",
        read: |gpu| gpu.last_xid.or_else(|| (gpu.xid_count == 0).then_some(0)).map(f64::from),
    },
];

/// Numbers of a GPU that share a name and are told apart by one label more.
struct Kinds {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    read: fn(&Gpu) -> Vec<(&'static str, f64)>,
}

const KINDS: [Kinds; 2] = [
    Kinds {
        name: "tintype_worker_gpu_ecc_errors",
        help: "Memory errors of the GPU since its driver was loaded, put right (corrected) or beyond repair",
        label: "kind",
        read: |gpu| {
            let each = [("corrected", gpu.ecc_corrected), ("uncorrected", gpu.ecc_uncorrected)];
            each.into_iter().filter_map(|(kind, errors)| Some((kind, errors? as f64))).collect()
        },
    },
    Kinds {
        name: "tintype_worker_gpu_throttled",
        help: "1 for each reason that keeps the GPU's clocks down now (NVML, nvmlClocksThrottleReasons)",
        label: "reason",
        read: |gpu| {
            let holds = |reason| f64::from(u8::from(gpu.throttle_reasons.contains(&reason)));
            ThrottleReason::ALL.map(|reason| (reason.as_str(), holds(reason))).to_vec()
        },
    },
];

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}

fn used(gpu: &Gpu) -> f64 {
    gpu.vram_total_bytes.saturating_sub(gpu.vram_free_bytes) as f64
}

/// A family of names, with the labels its readers expect.
struct Family {
    fields: &'static [Field],
    gauges: Vec<GaugeVec>,
    labels: fn(usize, &Gpu) -> Vec<String>,
}

impl Family {
    fn new(
        fields: &'static [Field],
        names: &[&str],
        labels: fn(usize, &Gpu) -> Vec<String>,
    ) -> prometheus::Result<Self> {
        let gauges = fields.iter().map(|field| GaugeVec::new(Opts::new(field.name, field.help), names));
        Ok(Self { fields, gauges: gauges.collect::<prometheus::Result<_>>()?, labels })
    }

    /// Forgets GPUs that are gone, so that a lost one is missing and not frozen.
    fn show(&self, gpus: &[Gpu]) {
        for (field, gauge) in self.fields.iter().zip(&self.gauges) {
            gauge.reset();
            for (index, gpu) in gpus.iter().enumerate() {
                if let Some(value) = (field.read)(gpu) {
                    gauge.with_label_values(&(self.labels)(index, gpu)).set(value);
                }
            }
        }
    }
}

/// Reads the probe when Prometheus asks.
struct GpuCollector {
    probe: Arc<dyn GpuProbe>,
    families: Vec<Family>,
    kinds: Vec<(&'static Kinds, GaugeVec)>,
}

impl GpuCollector {
    fn gauges(&self) -> impl Iterator<Item = &GaugeVec> {
        self.families.iter().flat_map(|family| &family.gauges).chain(self.kinds.iter().map(|(_, gauge)| gauge))
    }
}

impl Collector for GpuCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gpus = self.probe.read();
        for family in &self.families {
            family.show(&gpus);
        }
        for (kinds, gauge) in &self.kinds {
            gauge.reset();
            for gpu in gpus.iter().filter(|gpu| !gpu.uuid.starts_with("cpu-")) {
                for (kind, value) in (kinds.read)(gpu) {
                    gauge.with_label_values(&[gpu.uuid.as_str(), gpu.name.as_str(), kind]).set(value);
                }
            }
        }
        self.gauges().flat_map(Collector::collect).collect()
    }
}

/// Shows the probe's GPUs in the registry; with `dcgm` also under the names of dcgm-exporter.
pub(crate) fn register(registry: &Registry, probe: Arc<dyn GpuProbe>, dcgm: bool) -> prometheus::Result<()> {
    let ours = Family::new(&OURS, &["uuid", "product"], |_, gpu| vec![gpu.uuid.clone(), gpu.name.clone()])?;
    let mut families = vec![ours];
    if dcgm {
        let labels = |index: usize, gpu: &Gpu| vec![index.to_string(), gpu.uuid.clone(), gpu.name.clone()];
        families.push(Family::new(&DCGM, &["gpu", "UUID", "modelName"], labels)?);
    }
    let kinds = KINDS.iter().map(|kinds| {
        let gauge = GaugeVec::new(Opts::new(kinds.name, kinds.help), &["uuid", "product", kinds.label])?;
        Ok((kinds, gauge))
    });
    let kinds = kinds.collect::<prometheus::Result<_>>()?;
    registry.register(Box::new(GpuCollector { probe, families, kinds }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use prometheus::{Encoder as _, TextEncoder};

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<Gpu>>);

    impl GpuProbe for Told {
        fn read(&self) -> Vec<Gpu> {
            self.0.lock().unwrap().clone()
        }
    }

    fn gpu() -> Gpu {
        Gpu {
            uuid: "GPU-1".to_owned(),
            name: "NVIDIA L4".to_owned(),
            vram_total_bytes: 24 << 30,
            vram_free_bytes: 20 << 30,
            utilisation_percent: Some(37),
            temperature_celsius: Some(61),
            power_milliwatts: Some(71_500),
            xid_count: 2,
            last_xid: Some(31),
            foreign_bytes: Some(5),
            memory_utilisation_percent: Some(18),
            power_limit_milliwatts: Some(72_000),
            energy_millijoules: Some(1_500),
            sm_clock_mhz: Some(2_040),
            memory_clock_mhz: Some(6_251),
            throttle_reasons: vec![ThrottleReason::SwPowerCap, ThrottleReason::HwThermalSlowdown],
            ecc_corrected: Some(7),
            ecc_uncorrected: Some(1),
            ..Gpu::default()
        }
    }

    fn text(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_gpu_shows_under_both_names_in_their_units() {
        let (registry, probe) = (Registry::new(), Arc::new(Told::default()));
        register(&registry, Arc::clone(&probe) as Arc<dyn GpuProbe>, true).unwrap();
        *probe.0.lock().unwrap() = vec![gpu()];
        let shown = text(&registry);
        for line in [
            r#"tintype_worker_gpu_utilization_ratio{product="NVIDIA L4",uuid="GPU-1"} 0.37"#,
            r#"tintype_worker_gpu_memory_used_bytes{product="NVIDIA L4",uuid="GPU-1"} 4294967296"#,
            r#"tintype_worker_gpu_memory_total_bytes{product="NVIDIA L4",uuid="GPU-1"} 25769803776"#,
            r#"tintype_worker_gpu_temperature_celsius{product="NVIDIA L4",uuid="GPU-1"} 61"#,
            r#"tintype_worker_gpu_power_watts{product="NVIDIA L4",uuid="GPU-1"} 71.5"#,
            r#"tintype_worker_gpu_xid_faults{product="NVIDIA L4",uuid="GPU-1"} 2"#,
            r#"DCGM_FI_DEV_GPU_UTIL{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 37"#,
            r#"DCGM_FI_DEV_FB_USED{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 4096"#,
            r#"DCGM_FI_DEV_FB_FREE{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 20480"#,
            r#"DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 71.5"#,
            r#"tintype_worker_gpu_power_limit_watts{product="NVIDIA L4",uuid="GPU-1"} 72"#,
            r#"tintype_worker_gpu_energy_joules{product="NVIDIA L4",uuid="GPU-1"} 1.5"#,
            r#"tintype_worker_gpu_sm_clock_hertz{product="NVIDIA L4",uuid="GPU-1"} 2040000000"#,
            r#"tintype_worker_gpu_foreign_memory_bytes{product="NVIDIA L4",uuid="GPU-1"} 5"#,
            r#"tintype_worker_gpu_ecc_errors{kind="corrected",product="NVIDIA L4",uuid="GPU-1"} 7"#,
            r#"tintype_worker_gpu_ecc_errors{kind="uncorrected",product="NVIDIA L4",uuid="GPU-1"} 1"#,
            r#"tintype_worker_gpu_throttled{product="NVIDIA L4",reason="sw_power_cap",uuid="GPU-1"} 1"#,
            r#"tintype_worker_gpu_throttled{product="NVIDIA L4",reason="gpu_idle",uuid="GPU-1"} 0"#,
            r#"DCGM_FI_DEV_MEM_COPY_UTIL{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 18"#,
            r#"DCGM_FI_DEV_SM_CLOCK{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 2040"#,
            r#"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 1500"#,
            // NVML: SW power cap is 0x4, HW thermal slowdown 0x40.
            r#"DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 68"#,
            r#"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 1"#,
            r#"DCGM_FI_DEV_XID_ERRORS{UUID="GPU-1",gpu="0",modelName="NVIDIA L4"} 31"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn what_is_not_known_or_gone_is_not_shown() {
        let (registry, probe) = (Registry::new(), Arc::new(Told::default()));
        register(&registry, Arc::clone(&probe) as Arc<dyn GpuProbe>, false).unwrap();
        *probe.0.lock().unwrap() = vec![Gpu { temperature_celsius: None, ..gpu() }];
        let shown = text(&registry);
        assert!(shown.contains("tintype_worker_gpu_power_watts{") && !shown.contains("temperature"), "{shown}");
        assert!(!shown.contains("DCGM"), "{shown}");
        probe.0.lock().unwrap().clear();
        assert_eq!(text(&registry), "");
    }
}
