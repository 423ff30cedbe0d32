//! The GPUs as Prometheus sees them: read anew at each scrape, under our names and, where wanted, under those of NVIDIA's
//! dcgm-exporter, so that dashboards made for it show this worker too.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry};
use tintype_types::worker::Gpu;

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

const OURS: [Field; 6] = [
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
        read: |gpu| gpu.power_milliwatts.map(|milliwatts| f64::from(milliwatts) / 1e3),
    },
    Field {
        name: "tintype_worker_gpu_xid_faults",
        help: "XID faults of the GPU since the worker started",
        read: |gpu| Some(f64::from(gpu.xid_count)),
    },
];

/// Names and units of dcgm-exporter (its `default-counters.csv`).
const DCGM: [Field; 6] = [
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
    Field {
        name: "DCGM_FI_DEV_POWER_USAGE",
        help: "Power draw (in W).",
        read: |gpu| gpu.power_milliwatts.map(|milliwatts| f64::from(milliwatts) / 1e3),
    },
    // Theirs is the number of the last fault, which a worker does not keep: 0 says that there was none.
    Field {
        name: "DCGM_FI_DEV_XID_ERRORS",
        help: "Whether there was an XID error.",
        read: |gpu| Some(f64::from(gpu.xid_count.min(1))),
    },
];

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
}

impl Collector for GpuCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().flat_map(|family| &family.gauges).flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gpus = self.probe.read();
        for family in &self.families {
            family.show(&gpus);
        }
        self.families.iter().flat_map(|family| &family.gauges).flat_map(Collector::collect).collect()
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
    registry.register(Box::new(GpuCollector { probe, families }))
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
