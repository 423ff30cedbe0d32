//! How pictures are finished, as the command line says it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Publisher;
use crate::safety::{CommandFilter, FilterChoice, SafetyFilter};

/// Flags about the files a worker writes.
#[derive(Clone, Debug, clap::Args)]
pub struct OutputArgs {
    /// Who decides which pictures may leave: `none`, or `command:PATH`, a program that reads a PNG from its standard
    /// input and answers `pass` or `refuse`. A filter that fails or hangs holds the picture back.
    #[arg(long, env = "TINTYPE_SAFETY_FILTER", default_value = "none")]
    pub safety_filter: FilterChoice,
    /// How long a safety filter may take for one picture, in seconds.
    #[arg(long, env = "TINTYPE_SAFETY_FILTER_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub safety_filter_seconds: u64,
}

impl OutputArgs {
    /// Sets up what the flags say.
    ///
    /// # Errors
    /// A filter that cannot be run.
    pub fn publisher(&self) -> Result<Publisher> {
        Ok(Publisher { filter: self.filter()? })
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
}
