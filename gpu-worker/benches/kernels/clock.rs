//! How long something takes.

use std::time::Instant;

use anyhow::{Context as _, Result};

/// What counts as time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Of all threads of this process.
    Cpu,
    /// On the wall.
    Wall,
}

impl Clock {
    /// Milliseconds that `work` takes.
    pub(crate) fn time<T>(self, work: impl FnOnce() -> T) -> Result<(f64, T)> {
        match self {
            Self::Wall => {
                let start = Instant::now();
                let made = work();
                Ok((start.elapsed().as_secs_f64() * 1e3, made))
            }
            Self::Cpu => {
                let start = cpu_ms()?;
                let made = work();
                Ok((cpu_ms()? - start, made))
            }
        }
    }

    /// The unit's name in figures.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_ms",
            Self::Wall => "wall_ms",
        }
    }
}

/// CPU time of all threads alive, in milliseconds: the kernel counts it to the nanosecond in `schedstat`.
fn cpu_ms() -> Result<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task").context("cannot list this process's threads")? {
        let path = task.context("cannot list this process's threads")?.path().join("schedstat");
        let line = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let nanoseconds: f64 = line.split_whitespace().next().unwrap_or_default().parse().context("schedstat")?;
        total += nanoseconds / 1e6;
    }
    Ok(total)
}
