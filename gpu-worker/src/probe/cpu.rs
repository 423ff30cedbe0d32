//! The CPU standing in for a GPU: its memory is the host's.

use std::path::PathBuf;

use tintype_types::worker::Gpu;

use super::GpuProbe;

/// Reads `/proc`.
#[derive(Clone, Debug)]
pub struct CpuProbe {
    proc: PathBuf,
}

impl Default for CpuProbe {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc") }
    }
}

impl GpuProbe for CpuProbe {
    fn read(&self) -> Vec<Gpu> {
        let memory = std::fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let about = std::fs::read_to_string(self.proc.join("cpuinfo")).unwrap_or_default();
        vec![Gpu {
            uuid: "cpu-0".to_owned(),
            name: model_name(&about).unwrap_or("CPU").to_owned(),
            vram_total_bytes: kib(&memory, "MemTotal:") * 1024,
            vram_free_bytes: kib(&memory, "MemAvailable:") * 1024,
            ..Gpu::default()
        }]
    }
}

fn model_name(about: &str) -> Option<&str> {
    let line = about.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim()).filter(|name| !name.is_empty())
}

/// A line of `/proc/meminfo`; 0 when it is missing.
fn kib(memory: &str, key: &str) -> u64 {
    let line = memory.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_memory_and_name_are_read() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::write(proc.path().join("meminfo"), "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n")
            .unwrap();
        std::fs::write(proc.path().join("cpuinfo"), "processor\t: 0\nmodel name\t: Babbage 9\n").unwrap();
        let gpus = CpuProbe { proc: proc.path().to_owned() }.read();
        let seen = (&*gpus[0].uuid, &*gpus[0].name, gpus[0].vram_total_bytes, gpus[0].vram_free_bytes);
        assert_eq!(seen, ("cpu-0", "Babbage 9", 2 << 20, 1 << 20));
    }

    #[test]
    fn without_proc_there_is_still_a_cpu() {
        let gpus = CpuProbe { proc: PathBuf::from("/nonexistent") }.read();
        assert_eq!((&*gpus[0].name, gpus[0].vram_total_bytes), ("CPU", 0));
        assert!(CpuProbe::default().read()[0].vram_total_bytes > 0);
    }
}
