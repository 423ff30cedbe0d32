//! A bucket for tests: s3s-fs, a real S3 server over a folder that refuses what is not signed, or was signed too long ago.
//! Found where `scripts/setup.sh` puts it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::S3Config;

/// Which one setup builds; the same as in `tests/s3/server.sh`.
const VERSION: &str = "0.14.1";
/// The bucket there is.
const BUCKET: &str = "pictures";
/// Longest it may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server with one empty bucket. Dropping it stops it.
#[derive(Debug)]
pub struct Bucket {
    server: Child,
    port: u16,
}

impl Bucket {
    /// Starts one whose objects lie below `folder`. Blocks until it listens.
    ///
    /// # Errors
    /// It is not installed, or did not start.
    pub fn start(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program());
        command.args(["--access-key", "AKEXAMPLE", "--secret-key", "secret-of-the-bucket", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string()]).arg(folder);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut bucket = Self { server, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = bucket.server.try_wait()?;
            if ended.is_some() || started.elapsed() > START_MAX {
                return Err(io::Error::other(format!("s3s-fs did not start: {ended:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(bucket)
    }

    /// Where it is, and with which keys.
    pub fn config(&self) -> S3Config {
        S3Config {
            bucket: BUCKET.to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            region: "us-east-1".to_owned(),
            access_key_id: "AKEXAMPLE".to_owned(),
            secret_access_key: "secret-of-the-bucket".to_owned(),
        }
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn program() -> PathBuf {
    let cache = std::env::var_os("TINTYPE_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tintype"));
    cache.or_else(home).unwrap_or_default().join("s3s-fs").join(VERSION).join("bin/s3s-fs")
}
