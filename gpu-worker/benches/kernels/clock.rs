//! How long something takes.

use std::time::Instant;

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
    pub(crate) fn time<T>(self, work: impl FnOnce() -> T) -> (f64, T) {
        match self {
            Self::Wall => {
                let start = Instant::now();
                let made = work();
                (start.elapsed().as_secs_f64() * 1e3, made)
            }
            Self::Cpu => {
                let start = cpu_ms();
                let made = work();
                (cpu_ms() - start, made)
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

/// CPU time of all threads of this process, in milliseconds. (`/proc` says it too, but counts a thread that runs only up to
/// the scheduler's last tick, which is later than many an operation ends.)
fn cpu_ms() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e3 + used.tv_nsec as f64 / 1e6
}
