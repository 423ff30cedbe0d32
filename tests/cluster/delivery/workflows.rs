//! The workflows of the forge are sound and say nothing a newcomer would not type; the notes of a release are cut right;
//! the Dockerfile builds what the script builds.

use std::fs;

use tintype_cluster::root;

use crate::{said, script};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn actionlint_finds_nothing_in_the_workflows() {
    said(&script("scripts/actionlint.sh", &[]));
}

#[test]
fn actionlint_would_find_something() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yml");
    fs::write(
        &broken,
        read(".github/workflows/test.yml").replace("runs-on: ubuntu-24.04", "runs-on: ${{ nobody.knows }}"),
    )
    .unwrap();
    let output = script("scripts/actionlint.sh", &[broken.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("undefined variable \"nobody\""));
}

#[test]
fn workflows_run_targets_of_the_makefile_alone() {
    let makefile = read("Makefile");
    let mut seen = 0;
    for workflow in ["test.yml", "release.yml"] {
        let text = read(&format!(".github/workflows/{workflow}"));
        for target in text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once("make "))
            .map(|(_, target)| target.trim())
        {
            assert!(
                makefile.contains(&format!("\n{target}: ")),
                "{workflow} runs `make {target}`: there is no such target"
            );
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} targets were found in the workflows");
}

#[test]
fn notes_are_the_section_of_the_version_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("CHANGELOG.md");
    fs::write(&file, "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.2.0\n\n- two\n  words\n\n## 1.1.0\n\n- old\n")
        .unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(said(&script("scripts/release-notes.sh", &["1.2.0", file])), "- two\n  words\n");
    assert_eq!(said(&script("scripts/release-notes.sh", &["Unreleased", file])), "- new\n");
    let refused = script("scripts/release-notes.sh", &["1.2", file]);
    assert!(!refused.status.success(), "a part of a version is not the version");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it has: Unreleased,1.2.0,1.1.0"));
}

#[test]
fn the_dockerfile_makes_the_images_the_script_makes() {
    let (dockerfile, images) = (read("deploy/Dockerfile"), read("scripts/images.py"));
    for program in ["operator", "api", "gpu-worker"] {
        assert!(images.contains(&format!("    \"{program}\": ")), "scripts/images.py makes no {program}");
        for line in [
            format!("FROM ${{BASE}} AS {program}\nCOPY --from=build /out/{program} /usr/bin/{program}\n"),
            format!("USER 65532:65532\nENTRYPOINT [\"/usr/bin/{program}\"]\n"),
            format!("target/release/{program}"),
        ] {
            assert!(dockerfile.contains(&line), "deploy/Dockerfile lacks: {line}");
        }
    }
    assert!(images.contains("    \"database\": "), "scripts/images.py makes no database");
    for line in [
        "FROM ${POSTGRES} AS database\nCOPY --from=build /out/database /usr/bin/database\n",
        "USER 65532:65532\nSTOPSIGNAL SIGINT\nENTRYPOINT [\"/usr/bin/database\"]\n",
        "target/release/database",
    ] {
        assert!(dockerfile.contains(line), "deploy/Dockerfile lacks: {line}");
    }
    assert!(dockerfile.contains("COPY models /usr/share/tintype/models"));
    assert_eq!(dockerfile.matches("FROM ${BASE}").count(), 3);
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(
        dockerfile.contains(&format!("rust:{version}")),
        "deploy/Dockerfile builds with another Rust than {version}"
    );
}
