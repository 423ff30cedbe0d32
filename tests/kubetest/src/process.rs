//! Processes that do not outlive the tests.
//!
//! Linux kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`), and test threads end all the time.
//! So one thread that lives as long as the process starts them all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use crate::{Error, Program, Result, error::Doing};

/// Enough of a log to see why a program gave up, short enough to read in a failed test.
const LOG_TAIL_BYTES: u64 = 4096;

/// What to run: kept so that a killed program can be started again.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) program: Program,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) log: PathBuf,
}

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    pub(crate) spec: Spec,
    child: Child,
    killed: bool,
}

impl Process {
    pub(crate) fn start(spec: Spec) -> Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .doing(|| format!("opening {}", spec.log.display()))?;
        let errors = log.try_clone().doing(|| format!("opening {}", spec.log.display()))?;
        let mut command = Command::new(&spec.executable);
        command
            .args(&spec.arguments)
            // Nothing of ours may steer them: not KUBECONFIG, not a proxy, not an ETCD_ setting.
            .env_clear()
            .env("HOME", &spec.directory)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(&spec.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = spawn(command).doing(|| format!("starting {}", spec.executable.display()))?;
        Ok(Self { spec, child, killed: false })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error as soon as it has ended by itself; one that was killed here is as it should be.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        if self.killed {
            return Ok(());
        }
        match self.child.try_wait().doing(|| format!("looking after {}", self.spec.program))? {
            None => Ok(()),
            Some(status) => Err(self.exited(status)),
        }
    }

    /// Kills it and waits until it is gone. The handle is ours, so this can never hit another process of the same id.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.killed = true;
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// The end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        let tail = || -> io::Result<String> {
            let mut file = File::open(&self.spec.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_else(|error| format!("(no log: {error})"))
    }

    fn exited(&self, status: ExitStatus) -> Error {
        Error::Exited { program: self.spec.program, status: status.to_string(), log: self.log_tail() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.kill();
    }
}

struct Request {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// The thread that starts processes; never joined, it ends with the process, and its children with it.
static STARTER: LazyLock<io::Result<SyncSender<Request>>> = LazyLock::new(|| {
    let (requests, inbox) = sync_channel::<Request>(0);
    thread::Builder::new().name("kubetest-starter".to_owned()).spawn(move || {
        for Request { mut command, answer } in inbox {
            die_with_this_thread(&mut command);
            // Nobody waits for the answer only when the asking thread is gone; dropping the child is right then.
            let _ = answer.send(command.spawn());
        }
    })?;
    Ok(requests)
});

fn spawn(command: Command) -> io::Result<Child> {
    let starter = STARTER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (answer, outcome) = sync_channel(1);
    starter.send(Request { command, answer }).map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

/// Has the kernel kill what `command` starts when the calling thread ends, however it ends.
#[expect(unsafe_code, reason = "what happens between fork and exec can be said in no safe way")]
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let between_fork_and_exec = move || {
        // SAFETY: prctl and getppid are system calls that touch no memory of ours.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // We may have died before we asked: then the signal never comes.
        if u32::try_from(now) != Ok(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock, so it is sound in the child of a threaded process.
    unsafe { command.pre_exec(between_fork_and_exec) };
}
