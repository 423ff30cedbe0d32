//! A filter that is a program: it reads a PNG from its standard input, writes `pass` or `refuse` to its standard output
//! and exits with 0. Anything else, and anything too late, is an error.
//!
//! The program is started anew for each picture, so one that leaks or hangs spoils one picture.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{FilterError, SafetyFilter, Verdict};
use crate::output::{RgbImage, encode_bare_png};

/// Longest answer read, in bytes; both words are far shorter.
const ANSWER_BYTES_MAX: u64 = 64;

/// Runs one program for each picture.
#[derive(Clone, Debug)]
pub struct CommandFilter {
    program: PathBuf,
    limit: Duration,
}

impl CommandFilter {
    /// A filter that gives its program this long for a picture.
    ///
    /// # Errors
    /// No program of that name that may be executed.
    pub fn new(program: &Path, limit: Duration) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = std::fs::metadata(program)?;
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no executable file"));
        }
        Ok(Self { program: program.to_owned(), limit })
    }

    async fn ask(&self, picture: &[u8]) -> Result<Verdict, FilterError> {
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a filter says of a picture is nobody's business.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let answer = exchange(&mut child, picture).await?;
        let status = child.wait().await?;
        if !status.success() {
            return Err(FilterError::Failed { status });
        }
        match answer.trim_ascii() {
            b"pass" => Ok(Verdict::Pass),
            b"refuse" => Ok(Verdict::Refuse),
            _ => Err(FilterError::Garbage),
        }
    }
}

impl SafetyFilter for CommandFilter {
    fn judge(&self, image: &RgbImage) -> Result<Verdict, FilterError> {
        let picture = encode_bare_png(image)?;
        // A runtime for this call alone: it is made on the drawing thread, which has none, and takes the child and its
        // pipes down with it when the time is over.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let limit = self.limit;
        runtime.block_on(async {
            tokio::time::timeout(limit, self.ask(&picture)).await.map_err(|_| FilterError::TimedOut { limit })?
        })
    }
}

/// Gives the picture and takes the answer at the same time: a program may answer before it has read everything.
async fn exchange(child: &mut Child, picture: &[u8]) -> io::Result<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read to the end closes the pipe; its answer and exit say whether that is right.
            let _closed = stdin.write_all(picture).await;
        }
    };
    let take = async {
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        }
        Ok(answer)
    };
    let ((), answer) = tokio::join!(give, take);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_says_pass_or_refuse_is_heard() {
        assert_eq!(judge("cat >/dev/null; echo pass").unwrap(), Verdict::Pass);
        assert_eq!(judge("cat >/dev/null; echo refuse").unwrap(), Verdict::Refuse);
        // It need not read what it does not need.
        assert_eq!(judge("printf refuse").unwrap(), Verdict::Refuse);
    }

    #[test]
    fn it_sees_the_picture_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        judge(&format!("cat >{}; echo pass", seen.display())).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(std::fs::read(seen).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, picture().pixels);
        assert!(reader.info().utf8_text.is_empty() && reader.info().uncompressed_latin1_text.is_empty());
    }

    #[test]
    fn whatever_else_it_does_is_an_error() {
        assert!(matches!(judge("echo pass; exit 3"), Err(FilterError::Failed { .. })));
        assert!(matches!(judge("echo pass; kill -9 $$"), Err(FilterError::Failed { .. })));
        for garbage in ["", "echo passable", "echo pass; echo refuse", "echo PASS", "head -c 100000 /dev/zero; exit 0"]
        {
            let judged = judge(garbage);
            assert!(matches!(judged, Err(FilterError::Garbage | FilterError::Failed { .. })), "{garbage}: {judged:?}");
        }
    }

    #[test]
    fn one_that_hangs_is_ended_in_time() {
        for hang in ["exec sleep 600", "echo pass; exec sleep 600", "echo pass; sleep 20 & exit 0"] {
            let judged = Script::new(hang, Duration::from_millis(300)).filter.judge(&picture());
            assert!(matches!(judged, Err(FilterError::TimedOut { .. })), "{hang}: {judged:?}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_told_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("filter");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for program in [file.as_path(), folder.path(), Path::new("/nowhere")] {
            assert!(CommandFilter::new(program, Duration::from_secs(1)).is_err(), "{}", program.display());
        }
    }

    /// A filter whose program is this shell script.
    struct Script {
        filter: CommandFilter,
        _folder: tempfile::TempDir,
    }

    impl Script {
        fn new(script: &str, limit: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let filter = CommandFilter::new(&program(folder.path(), script), limit).unwrap();
            Self { filter, _folder: folder }
        }
    }

    fn judge(script: &str) -> Result<Verdict, FilterError> {
        Script::new(script, Duration::from_mins(1)).filter.judge(&picture())
    }

    fn program(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("filter");
        // Written by another process: a file this one has open for writing, in any thread's fork, cannot be executed.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"";
        let written = std::process::Command::new("sh").args(["-c", write, "sh", script]).arg(&program).status();
        assert!(written.unwrap().success());
        program
    }

    /// More than a pipe holds, so that a program that does not read makes the writer wait.
    fn picture() -> RgbImage {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        RgbImage { width: 256, height: 256, pixels: (0..256 * 256 * 3).map(|_| noise()).collect() }
    }
}
