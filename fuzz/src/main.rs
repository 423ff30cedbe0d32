//! The program `scripts/fuzz.sh` builds: libFuzzer around the target that `TINTYPE_FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tintype_fuzz::{Target, find};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("TINTYPE_FUZZ_TARGET").unwrap_or_default();
        find(&name).expect("scripts/fuzz.sh names a target that there is")
    });
    (target.run)(bytes);
});
