//! A real server: started, asked, stopped, killed, started again.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tintype_pg::{ManagedPg, ManagedPgConfig, PgBinaries, PgError};

fn config(dir: &Path) -> ManagedPgConfig {
    ManagedPgConfig { data_dir: dir.to_owned(), binaries: PgBinaries::find(&[]).unwrap(), durable: true }
}

fn query(pg: &ManagedPg, database: &str, sql: &str) -> String {
    let psql = PgBinaries::find(&[]).unwrap().bin_dir().join("psql");
    let output = Command::new(psql).args([&pg.url(database), "-XAtqc", sql]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_running(pid: u32) -> bool {
    // A zombie is not running: its command line is empty.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn data_outlives_a_stop_and_a_second_start_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut pg = ManagedPg::start(config(dir.path())).unwrap();
    pg.create_database("tintype").unwrap();
    pg.create_database("tintype").unwrap();
    query(&pg, "tintype", "create table t (n int); insert into t values (7)");
    let pid = pg.pid().unwrap();
    pg.stop().unwrap();
    pg.stop().unwrap();
    assert!(!is_running(pid));

    let again = ManagedPg::start(config(dir.path())).unwrap();
    assert_eq!(query(&again, "tintype", "select n from t"), "7");
}

#[test]
fn one_folder_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let first = ManagedPg::start(config(dir.path())).unwrap();
    assert!(matches!(ManagedPg::start(config(dir.path())), Err(PgError::InUse(_))));
    assert_eq!(query(&first, "postgres", "select 1"), "1");
}

#[test]
fn a_killed_server_recovers_and_its_lock_file_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let pg = ManagedPg::start(config(dir.path())).unwrap();
    query(&pg, "postgres", "create table t (n int); insert into t values (7)");
    let pid = pg.pid().unwrap();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    wait_until("the server is gone", || !is_running(pid));
    drop(pg);
    // The worst case: the number in the lock file now belongs to somebody else, who is alive.
    let lock = dir.path().join("data/postmaster.pid");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, text.replacen(&pid.to_string(), &std::process::id().to_string(), 1)).unwrap();

    let again = ManagedPg::start(config(dir.path())).unwrap();
    assert_eq!(query(&again, "postgres", "select n from t"), "7");
}

/// Not a test of its own: the next one runs this binary again with the variable set, and kills it.
#[test]
fn helper_that_is_killed() {
    let Some(dir) = std::env::var_os("TINTYPE_PG_TEST_VICTIM") else { return };
    let pg = ManagedPg::start(config(Path::new(&dir))).unwrap();
    std::fs::write(Path::new(&dir).join("pid"), pg.pid().unwrap().to_string()).unwrap();
    std::thread::park();
}

#[test]
fn a_server_whose_starter_is_killed_is_stopped_by_its_guard() {
    let dir = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_is_killed"])
        .env("TINTYPE_PG_TEST_VICTIM", dir.path())
        .spawn()
        .unwrap();
    let pid_file = dir.path().join("pid");
    wait_until("the helper has a server", || std::fs::read_to_string(&pid_file).is_ok_and(|text| !text.is_empty()));
    let pid: u32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(is_running(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the guard stops the server", || !is_running(pid));
    ManagedPg::start(config(dir.path())).unwrap();
}

#[test]
fn a_long_path_still_gets_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let pg = ManagedPg::start(config(&dir.path().join("d".repeat(120)))).unwrap();
    assert!(pg.socket_dir().as_os_str().len() < 90);
    assert_eq!(query(&pg, "postgres", "select 1"), "1");
}

#[test]
fn data_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/PG_VERSION"), "9\n").unwrap();
    assert!(matches!(ManagedPg::start(config(dir.path())), Err(PgError::WrongVersion { data: 9, .. })));
    assert!(matches!(PgBinaries::find_for(dir.path(), &[]), Err(PgError::WrongVersion { data: 9, .. })));
}
