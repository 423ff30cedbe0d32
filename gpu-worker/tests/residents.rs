//! Models that stay, and models that go with all their memory. One test: memory is counted for the whole process.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tintype_worker::cache::Keep;
use tintype_worker::pipeline::{CandlePipeline, DeviceChoice, Pipeline as _, Residency, ResidentLimits};

/// Copies of the shipped model, each with weights of its own.
const COPIES: usize = 8;

#[test]
fn memory_of_what_nobody_uses_goes_back_and_what_is_pinned_stays() {
    let root = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes").canonicalize().unwrap();
    for copy in 0..COPIES {
        link(&shipped, &root.path().join(format!("m{copy}")));
    }
    let residency = Residency {
        limits: ResidentLimits { count: COPIES, bytes: 0 },
        keep: BTreeMap::from([("m0".to_owned(), Keep::Pinned), ("gone".to_owned(), Keep::Warm)]),
        unload_after: Some(Duration::ZERO),
    };
    let mut pipeline = CandlePipeline::with(vec![root.path().to_owned()], residency, DeviceChoice::Cpu).unwrap();
    // The pinned one comes by itself, one that is not there breaks nothing, and the first load's own needs are met.
    pipeline.tend();
    assert_eq!(names(&pipeline), ["m0"]);
    let before = rss();
    for copy in 1..COPIES {
        pipeline.load(&format!("m{copy}")).unwrap();
    }
    let (full, residents) = (rss() - before, pipeline.resident());
    let told: u64 = residents.iter().filter(|resident| resident.name != "m0").map(|resident| resident.bytes).sum();
    assert!(residents.len() == COPIES && full > told / 10 * 9 && full < told / 10 * 15, "{full} bytes, told {told}");
    pipeline.tend();
    assert_eq!(names(&pipeline), ["m0"]);
    let left = rss().saturating_sub(before);
    assert!(left < full / 10, "{left} of {full} bytes did not come back");
}

fn names(pipeline: &CandlePipeline) -> Vec<String> {
    pipeline.resident().into_iter().map(|resident| resident.name).collect()
}

/// A folder of links, but for the card: the name is then the place.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let name = entry.file_name().unwrap();
        if name != "tintype.json" {
            std::os::unix::fs::symlink(&entry, to.join(name)).unwrap();
        }
    }
}

/// Memory of this process that is in use, in bytes.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
