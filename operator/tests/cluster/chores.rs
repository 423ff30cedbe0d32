//! What the program does beside running, in a pod's environment.

use std::process::Command;

#[test]
fn a_chore_is_not_disturbed_by_the_environment_of_running() {
    let printed = Command::new(env!("CARGO_BIN_EXE_operator"))
        .arg("crds")
        .envs([("POD_NAMESPACE", "tintype"), ("TINTYPE_DISPATCH_TOKEN_FILE", "/etc/tintype/token")])
        .output()
        .expect("the program runs");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    assert!(String::from_utf8_lossy(&printed.stdout).contains("kind: GenerationJob"));
}
