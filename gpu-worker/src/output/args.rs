//! How pictures are finished, as the command line says it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::Publisher;
use super::c2pa::{Identity, IdentityError, Marker};
use crate::safety::{CommandFilter, FilterChoice, SafetyFilter};

/// Flags about the files a worker writes.
#[derive(Clone, Debug, clap::Args)]
pub struct OutputArgs {
    /// Whether pictures carry signed content credentials that say an algorithm made them.
    #[arg(long, env = "TINTYPE_C2PA", value_enum, default_value_t = Marking::On)]
    pub c2pa: Marking,
    /// Private key the credentials are signed with: PKCS#8 in PEM, P-256, P-384, Ed25519 or RSA. Left out, the worker
    /// makes a key and a certificate of its own, which nobody but you has a reason to trust.
    #[arg(long, env = "TINTYPE_C2PA_KEY", requires = "c2pa_cert")]
    pub c2pa_key: Option<PathBuf>,
    /// Certificate chain of that key in PEM, its own certificate first.
    #[arg(long, env = "TINTYPE_C2PA_CERT", requires = "c2pa_key")]
    pub c2pa_cert: Option<PathBuf>,
    /// Where a self-made key and certificate are kept [default: $XDG_DATA_HOME/tintype/c2pa or
    /// ~/.local/share/tintype/c2pa].
    #[arg(long, env = "TINTYPE_C2PA_DIR")]
    pub c2pa_dir: Option<PathBuf>,
    /// Who decides which pictures may leave: `none`, or `command:PATH`, a program that reads a PNG from its standard
    /// input and answers `pass` or `refuse`. A filter that fails or hangs holds the picture back.
    #[arg(long, env = "TINTYPE_SAFETY_FILTER", default_value = "none")]
    pub safety_filter: FilterChoice,
    /// How long a safety filter may take for one picture, in seconds.
    #[arg(long, env = "TINTYPE_SAFETY_FILTER_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub safety_filter_seconds: u64,
}

/// Whether pictures are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Marking {
    /// Signed.
    On,
    /// Not signed; the XMP packet that names an algorithm as the maker stays.
    Off,
}

impl OutputArgs {
    /// Sets up what the flags say; keys are tried once, here.
    ///
    /// # Errors
    /// A key, certificate or filter that cannot be used. A folder that cannot be written to is none: the self-made key is
    /// then good until this process ends.
    pub fn publisher(&self) -> Result<Publisher> {
        Ok(Publisher { filter: self.filter()?, marker: self.marker()? })
    }

    fn filter(&self) -> Result<Option<Box<dyn SafetyFilter>>> {
        match &self.safety_filter {
            FilterChoice::None => Ok(None),
            FilterChoice::Command(program) => {
                let limit = Duration::from_secs(self.safety_filter_seconds);
                let filter = CommandFilter::new(program, limit)
                    .with_context(|| format!("cannot run {}; mend --safety-filter", program.display()))?;
                Ok(Some(Box::new(filter)))
            }
        }
    }

    fn marker(&self) -> Result<Option<Marker>> {
        let identity = match (self.c2pa, &self.c2pa_key, &self.c2pa_cert) {
            (Marking::Off, _, _) => return Ok(None),
            (Marking::On, Some(key), Some(cert)) => Identity::from_files(key, cert)
                .context("cannot sign pictures; mend --c2pa-key and --c2pa-cert, or switch --c2pa off")?,
            (Marking::On, None, None) => self.own()?,
            (Marking::On, Some(_), None) | (Marking::On, None, Some(_)) => {
                bail!("--c2pa-key and --c2pa-cert go together: the key signs, the certificate says whose it is")
            }
        };
        let marker =
            Marker::new(&identity).context("cannot sign pictures; another certificate, or --c2pa off, helps")?;
        Ok(Some(marker))
    }

    fn own(&self) -> Result<Identity> {
        let Some(folder) = self.c2pa_dir.clone().or_else(default_folder) else {
            tracing::warn!(
                "there is no folder to keep a C2PA key in, so it lasts until the next start; name --c2pa-dir"
            );
            return Identity::passing().context("cannot make a C2PA key");
        };
        match Identity::own(&folder) {
            Ok(identity) => Ok(identity),
            Err(error @ IdentityError::Write { .. }) if self.c2pa_dir.is_none() => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a C2PA key cannot be kept, so it lasts until the next start; name --c2pa-dir");
                Identity::passing().context("cannot make a C2PA key")
            }
            Err(error) => Err(error).context("cannot use the self-made C2PA key; name another --c2pa-dir"),
        }
    }
}

/// Where the XDG base directory specification puts a program's own data.
fn default_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("tintype/c2pa"))
}
