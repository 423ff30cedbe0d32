//! The control plane we start ourselves: its files, its ports, its programs.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::net::TcpSocket;

use crate::{
    Error, Options, Program, Result, assets, audit,
    audit::AuditEvent,
    certificates::{self, Authority},
    client,
    directory::Directory,
    error::Doing,
    kubeconfig,
    process::{Process, Spec},
    programs::{AUDIT_POLICY, Layout},
    ready,
};

/// Who may do everything, also before the first role exists.
const ADMINISTRATORS: &str = "system:masters";

/// A running control plane. The fields are dropped in this order: the programs go before the directory they write to.
pub(crate) struct Owned {
    processes: Mutex<BTreeMap<Program, Process>>,
    ports: BTreeMap<Program, Port>,
    authority: Authority,
    programs: PathBuf,
    options: Options,
    directory: Directory,
}

impl Owned {
    pub(crate) fn start(options: Options) -> Result<Self> {
        let owned = Self {
            processes: Mutex::new(BTreeMap::new()),
            ports: ports(&options)?,
            authority: Authority::new()?,
            programs: assets::directory()?,
            options,
            directory: Directory::new()?,
        };
        owned.write_files()?;
        owned.launch(Program::Etcd)?;
        owned.launch(Program::ApiServer)?;
        owned.wait(Program::ApiServer)?;
        // Both at once, then wait for both: they are ready in the time of one.
        let others: Vec<_> = owned.ports.keys().copied().filter(|program| *program != Program::ApiServer).collect();
        for program in &others {
            owned.launch(*program)?;
        }
        for program in others {
            owned.wait(program)?;
        }
        Ok(owned)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(crate) fn url(&self) -> String {
        self.ports.get(&Program::ApiServer).map(Port::url).unwrap_or_default()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.file("admin.kubeconfig")
    }

    pub(crate) fn authority_path(&self) -> PathBuf {
        self.directory.file("authority.crt")
    }

    /// The content of a kubeconfig for a user with a certificate.
    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Result<String> {
        let user = self.authority.client(name, groups)?;
        Ok(kubeconfig::render(&self.url(), &self.authority.identity().certificate, &user))
    }

    pub(crate) fn audit_log(&self) -> Result<Vec<AuditEvent>> {
        audit::read(&self.directory.file("audit.log"))
    }

    pub(crate) fn log_path(&self, program: Program) -> PathBuf {
        self.directory.file(format!("{program}.log"))
    }

    pub(crate) fn process_id(&self, program: Program) -> Result<u32> {
        self.running().get(&program).map(Process::id).ok_or(Error::NotStarted(program))
    }

    pub(crate) fn kill(&self, program: Program) -> Result<()> {
        let mut running = self.running();
        let process = running.get_mut(&program).ok_or(Error::NotStarted(program))?;
        process.kill().doing(|| format!("killing {program}"))
    }

    pub(crate) fn restart(&self, program: Program) -> Result<()> {
        self.kill(program)?;
        self.launch(program)?;
        self.wait(program)
    }

    fn launch(&self, program: Program) -> Result<()> {
        let layout = Layout {
            directory: self.directory.path(),
            port: self.ports.get(&program).map_or(0, |port| port.number),
            options: &self.options,
        };
        let process = Process::start(Spec {
            program,
            executable: self.programs.join(program.name()),
            arguments: layout.arguments(program),
            directory: self.directory.path().to_owned(),
            log: self.log_path(program),
        })?;
        self.running().insert(program, process);
        Ok(())
    }

    fn wait(&self, program: Program) -> Result<()> {
        // A store is ready when the server on top of it can use it.
        let asked = if program == Program::Etcd { Program::ApiServer } else { program };
        let Some(port) = self.ports.get(&asked) else { return Err(Error::NotStarted(asked)) };
        let kubeconfig = self.kubeconfig();
        let mut guard = self.running();
        let running = &mut *guard;
        client::wait_for(async {
            let api = client::config(&kubeconfig).await?;
            ready::wait(running, ready::Asked { program: asked, port: port.number }, api, self.options.ready_within)
                .await
        })
    }

    fn write_files(&self) -> Result<()> {
        let write = |name: &str, content: &str| kubeconfig::write_private(&self.directory.file(name), content);
        let authority = self.authority.identity();
        write("authority.crt", &authority.certificate)?;
        write("authority.key", &authority.key)?;
        let (private, public) = certificates::signing_key()?;
        write("tokens.key", &private)?;
        write("tokens.pub", &public)?;
        write("audit-policy.json", AUDIT_POLICY)?;
        write("audit.log", "")?;
        write("admin.kubeconfig", &self.user("kubetest-admin", &[ADMINISTRATORS])?)?;
        // As whom the API server asks a kubelet, where a test has one.
        let asks = self.authority.client("kube-apiserver-kubelet-client", &[ADMINISTRATORS])?;
        write("kubelet-client.crt", &asks.certificate)?;
        write("kubelet-client.key", &asks.key)?;
        for program in self.ports.keys() {
            let server = self.authority.server(program.name())?;
            write(&format!("{program}.crt"), &server.certificate)?;
            write(&format!("{program}.key"), &server.key)?;
            // Their own users, so that they have the rights a cluster gives them and are told apart in the audit log.
            write(&format!("{program}.kubeconfig"), &self.user(&format!("system:{program}"), &[])?)?;
        }
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Program, Process>> {
        // Whoever panicked here left each process either in the map or dropped: both are fine to go on with.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port on loopback that is ours for as long as this lives. It is bound and never listened on; the program binds it
/// a second time, which the kernel allows the same user when both ask for it, and nobody else can be given it.
struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    fn take() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseport(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { number: socket.local_addr()?.port(), _held: socket })
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.number)
    }
}

/// One port for each program that listens on one.
fn ports(options: &Options) -> Result<BTreeMap<Program, Port>> {
    let mut programs = vec![Program::ApiServer];
    programs.extend(options.controller_manager.then_some(Program::ControllerManager));
    programs.extend(options.scheduler.then_some(Program::Scheduler));
    programs
        .into_iter()
        .map(|program| Ok((program, Port::take().doing(|| "taking a port on loopback".to_owned())?)))
        .collect()
}
