//! The control plane as a test sees it: one of ours, or the cluster that `TINTYPE_TEST_KUBECONFIG` names.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    AuditEvent, Error, Options, Program, Result, assets, client, directory::Directory, error::Doing, kubeconfig,
    owned::Owned, process,
};

/// Names a cluster to use instead of starting one.
const GIVEN: &str = "TINTYPE_TEST_KUBECONFIG";

/// Long enough for a `kubectl wait` on a busy machine; a test that hangs says so instead of being killed.
const KUBECTL_WITHIN: Duration = Duration::from_mins(3);

/// The server answers a request a moment before it writes it to the audit log.
const AUDITED_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_AUDIT_READS: Duration = Duration::from_millis(20);

/// A control plane to test against. Dropping it ends its programs and removes their files.
pub struct ControlPlane {
    kind: Kind,
    kubectl: PathBuf,
    users: AtomicUsize,
}

enum Kind {
    Ours(Box<Owned>),
    Given { kubeconfig: PathBuf, directory: Directory },
}

impl ControlPlane {
    /// Starts one and waits until it is ready: some seconds; the very first time on a machine, the minutes of a build.
    pub async fn start(options: Options) -> Result<Self> {
        beside_the_runtime(|| Self::start_blocking(options)).await
    }

    /// [`Self::start`] for code that is not async.
    pub fn start_blocking(options: Options) -> Result<Self> {
        let given = std::env::var_os(GIVEN).filter(|path| !path.is_empty() && !options.of_our_own);
        let (kind, kubectl) = if let Some(kubeconfig) = given {
            let kind = Kind::Given { kubeconfig: kubeconfig.into(), directory: Directory::new()? };
            (kind, assets::any_kubectl()?)
        } else {
            let owned = Owned::start(options)?;
            let kubectl = assets::kubectl(owned.programs());
            (Kind::Ours(Box::new(owned)), kubectl)
        };
        Ok(Self { kind, kubectl, users: AtomicUsize::new(0) })
    }

    /// The one that all tests of this process share: etcd and kube-apiserver. Keep apart by [`Self::unique_namespace`].
    pub async fn shared() -> Result<&'static Self> {
        beside_the_runtime(Self::shared_blocking).await
    }

    /// [`Self::shared`] for code that is not async.
    pub fn shared_blocking() -> Result<&'static Self> {
        static SHARED: OnceLock<std::result::Result<ControlPlane, String>> = OnceLock::new();
        share(&SHARED, Options::new)
    }

    /// The same with kube-controller-manager and kube-scheduler; another one than [`Self::shared`].
    pub async fn shared_with_controllers() -> Result<&'static Self> {
        static SHARED: OnceLock<std::result::Result<ControlPlane, String>> = OnceLock::new();
        beside_the_runtime(|| share(&SHARED, || Options::new().controller_manager().scheduler())).await
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig_path(&self) -> PathBuf {
        match &self.kind {
            Kind::Ours(owned) => owned.kubeconfig(),
            Kind::Given { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// The certificate of the authority that a program of one of ours may trust: a kubelet knows the API server by it.
    pub fn authority_path(&self) -> Result<PathBuf> {
        Ok(self.ours("its authority is its own")?.authority_path())
    }

    /// The settings for an administrator's client.
    pub async fn config(&self) -> Result<Config> {
        client::config(&self.kubeconfig_path()).await
    }

    /// An administrator's client. It belongs to the runtime it is made in, so each test makes its own.
    pub async fn client(&self) -> Result<Client> {
        client::client(self.config().await?)
    }

    /// A client for the kubeconfig at `path`: of [`Self::user_kubeconfig`] or [`Self::service_account_kubeconfig`].
    pub async fn client_of(&self, path: &Path) -> Result<Client> {
        client::client(client::config(path).await?)
    }

    /// Writes a kubeconfig for a user with no rights but those RBAC gives to `name` and `groups`. With a cluster that is
    /// not ours the administrator impersonates him: the rights are the same.
    pub fn user_kubeconfig(&self, name: &str, groups: &[&str]) -> Result<PathBuf> {
        let content = match &self.kind {
            Kind::Ours(owned) => owned.user(name, groups)?,
            Kind::Given { kubeconfig, .. } => kubeconfig::impersonate(kubeconfig, name, groups)?,
        };
        self.write_kubeconfig(&content)
    }

    /// Writes a kubeconfig with a token of an existing service account: what a program in a pod would be.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let wanted = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = Api::<ServiceAccount>::namespaced(self.client().await?, namespace)
            .create_token_request(name, &PostParams::default(), &wanted)
            .await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        self.write_kubeconfig(&kubeconfig::with_token(&self.kubeconfig_path(), token)?)
    }

    /// Makes a namespace with a name nobody else has. Without kube-controller-manager it can never be removed again,
    /// which does not matter: it goes with the control plane.
    pub async fn unique_namespace(&self) -> Result<String> {
        let wanted = Namespace {
            metadata: ObjectMeta { generate_name: Some("kubetest-".to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let made = Api::<Namespace>::all(self.client().await?).create(&PostParams::default(), &wanted).await?;
        Ok(made.metadata.name.unwrap_or_default())
    }

    /// Runs kubectl to its end, as the administrator unless the arguments name another `--kubeconfig`. Blocks the calling
    /// thread: where a task beside it must go on, use [`Self::kubectl_command`] with tokio's `Command::from`.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.kubectl_with_input(arguments, "")
    }

    /// The same, with something to read: `kubectl_with_input(&["apply", "-f", "-"], manifest)`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.kubectl_command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // This thread does nothing but wait for it, so its end is the right moment.
        client::wait_for(async move {
            process::die_with_this_thread(&mut command);
            tokio::time::timeout(KUBECTL_WITHIN, output(command.into(), input)).await.unwrap_or_else(|_| {
                Err(Error::KubectlTimeout { arguments: arguments.join(" "), waited: KUBECTL_WITHIN })
            })
        })
    }

    /// kubectl, ready to be run in one's own way.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.kubectl);
        command.args(arguments);
        if let Kind::Ours(owned) = &self.kind {
            // Its cache and settings, not those of whoever runs the tests. A cluster that is not ours may need them:
            // there are programs that log in.
            command.env("HOME", owned.directory().path()).env("KUBERC", "off");
        }
        command
    }

    /// Any program that reads `KUBECONFIG`, with ours in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("KUBECONFIG", self.kubeconfig_path());
        command
    }

    /// Every request that was answered so far; see [`Self::audited`] for one just made.
    pub fn audit_log(&self) -> Result<Vec<AuditEvent>> {
        self.ours("there is no audit log to read")?.audit_log()
    }

    /// Waits until a request is in the audit log. The client has its answer a moment before.
    pub async fn audited(&self, wanted: impl Fn(&AuditEvent) -> bool) -> Result<AuditEvent> {
        let started = Instant::now();
        loop {
            let log = self.audit_log()?;
            let seen = log.len();
            if let Some(event) = log.into_iter().find(&wanted) {
                return Ok(event);
            }
            if started.elapsed() > AUDITED_WITHIN {
                return Err(Error::NotAudited { waited: started.elapsed(), seen });
            }
            tokio::time::sleep(BETWEEN_AUDIT_READS).await;
        }
    }

    /// Where the API server listens.
    pub fn url(&self) -> Result<String> {
        Ok(self.ours("its address is in the kubeconfig")?.url())
    }

    /// The process id of a program.
    pub fn process_id(&self, program: Program) -> Result<u32> {
        self.ours("its programs are not ours")?.process_id(program)
    }

    /// Where a program logs.
    pub fn log_path(&self, program: Program) -> Result<PathBuf> {
        Ok(self.ours("its logs are elsewhere")?.log_path(program))
    }

    /// Kills a program as a crash would (SIGKILL).
    pub fn kill(&self, program: Program) -> Result<()> {
        self.ours("its programs are not ours to kill")?.kill(program)
    }

    /// Kills a program if it runs, starts it again on the same port and files, and waits until it is ready.
    pub fn restart(&self, program: Program) -> Result<()> {
        self.ours("its programs are not ours to restart")?.restart(program)
    }

    fn ours(&self, otherwise: &'static str) -> Result<&Owned> {
        match &self.kind {
            Kind::Ours(owned) => Ok(owned),
            Kind::Given { .. } => Err(Error::NotOurs(otherwise)),
        }
    }

    fn write_kubeconfig(&self, content: &str) -> Result<PathBuf> {
        let directory = match &self.kind {
            Kind::Ours(owned) => owned.directory(),
            Kind::Given { directory, .. } => directory,
        };
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let path = directory.file(format!("user-{number}.kubeconfig"));
        kubeconfig::write_private(&path, content)?;
        Ok(path)
    }
}

/// Starting waits for processes and builds: on a thread where that hurts nobody.
async fn beside_the_runtime<T: Send + 'static>(start: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(start).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Error::Shared(cancelled.to_string())),
        },
    }
}

fn share(
    cell: &'static OnceLock<std::result::Result<ControlPlane, String>>,
    options: impl FnOnce() -> Options,
) -> Result<&'static ControlPlane> {
    cell.get_or_init(|| ControlPlane::start_blocking(options()).map_err(|error| crate::error::chain(&error)))
        .as_ref()
        .map_err(|reason| Error::Shared(reason.clone()))
}

async fn output(mut command: tokio::process::Command, input: &str) -> Result<Output> {
    let mut child = command.kill_on_drop(true).spawn().doing(|| "starting kubectl".to_owned())?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // It may end without reading; its own message says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    output.doing(|| "waiting for kubectl".to_owned())
}
