//! What others hold of a GPU, as a pod sees it that knows nothing of the host's pids.

use tintype_fake_nvml::Process;
use tintype_worker::probe::{GpuProbe as _, Trouble};

use crate::bench::{Bench, seen};

/// A GPU of 24 GiB with 1 GiB in use is this process alone; an eighth of it is too much for others.
#[test]
fn what_is_in_use_beyond_our_own_is_others_whatever_pids_the_driver_tells() {
    let strangers = vec![Process { pid: 4_000_001, memory_used: 7 << 30 }];
    for processes in [None, Some(Vec::new()), Some(strangers)] {
        let mut bench = Bench::new();
        let probe = bench.probe();
        probe.holds(Some(0));
        seen(&probe, "a GPU that is well", |_, health| health.trouble.is_none());
        probe.holds(None);
        bench.change(|machine| {
            machine.gpus[0].memory_used = 8 << 30;
            machine.gpus[0].processes.clone_from(&processes);
        });
        seen(&probe, "the models that were loaded", |gpus, _| gpus[0].vram_free_bytes == 16 << 30);
        probe.holds(Some(7 << 30));
        let readings = probe.health();
        for _ in 0..3 {
            seen_again(&readings);
            assert_eq!(readings.borrow().trouble, None, "all of it is ours: {processes:?}");
        }
        bench.change(|machine| machine.gpus[0].memory_used = 12 << 30);
        seen(&probe, "the others", |_, health| health.trouble == Some(Trouble::Crowded { bytes: 4 << 30 }));
        bench.change(|machine| machine.gpus[0].memory_used = 8 << 30);
        seen(&probe, "a GPU that is ours again", |_, health| health.trouble.is_none());
    }
}

#[test]
fn where_our_own_pid_is_among_them_pids_are_believed() {
    let mut bench = Bench::new();
    let probe = bench.probe();
    probe.holds(Some(0));
    seen(&probe, "a GPU that is well", |_, health| health.trouble.is_none());
    probe.holds(Some(2 << 30));
    bench.change(|machine| {
        // Ours takes more than its models, which is nobody else's.
        machine.gpus[0].memory_used = 12 << 30;
        let own = Process { pid: std::process::id(), memory_used: 8 << 30 };
        machine.gpus[0].processes = Some(vec![own, Process { pid: 1, memory_used: 3 << 30 }]);
    });
    seen(&probe, "the other one", |_, health| health.trouble == Some(Trouble::Crowded { bytes: 3 << 30 }));
}

/// Waits for one more reading than has been seen.
fn seen_again(readings: &tokio::sync::watch::Receiver<tintype_worker::probe::Health>) {
    let mut next = readings.clone();
    next.borrow_and_update();
    let since = std::time::Instant::now();
    while !next.has_changed().unwrap() {
        assert!(since.elapsed() < crate::bench::PATIENCE, "no reading came");
        std::thread::yield_now();
    }
}
