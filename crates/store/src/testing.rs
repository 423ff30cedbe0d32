//! A bucket for tests: s3s-fs, a real S3 server over a folder that refuses what is not signed, or was signed too long ago.
//! Found where `scripts/setup.sh` puts it. And an address for whatever a test starts that cannot choose one itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
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
    address: SocketAddr,
}

impl Bucket {
    /// Starts one whose objects lie below `folder`. Blocks until it listens.
    ///
    /// # Errors
    /// It is not installed, or did not start.
    pub fn start(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let address = own_address();
        let mut command = Command::new(program());
        command.args(["--access-key", "AKEXAMPLE", "--secret-key", "secret-of-the-bucket"]);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]).arg(folder);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut bucket = Self { server, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
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
            endpoint: Some(format!("http://{}", self.address)),
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

/// An address of the loopback network that nobody else has: a port of 127.0.0.1 that is free now may be another's by the
/// time a program listens on it.
///
/// # Panics
/// After 255 of them in one process.
pub fn own_address() -> SocketAddr {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    let nth = GIVEN.fetch_add(1, Ordering::Relaxed).checked_add(1).expect("a process has 255 addresses of its own");
    // Two processes at one time share these bytes only when their ids are thousands apart; 127.0 is everybody's.
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, high | 0x80, low, nth), 8080).into()
}

fn program() -> PathBuf {
    let cache = std::env::var_os("TINTYPE_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tintype"));
    cache.or_else(home).unwrap_or_default().join("s3s-fs").join(VERSION).join("bin/s3s-fs")
}
