//! Safety filters: whether a drawn picture may leave the worker. Off unless configured.
//!
//! A filter fails closed: a picture it could not judge, for whatever reason, is held back like one it refused. It sees
//! pixels alone, neither prompt nor request, and nothing of the picture is logged.
//!
//! One kind there is now: a program of the operator's choice. diffusers' `safety_checker` (a CLIP image encoder with
//! concept vectors) would be a second kind behind the same trait and is not here yet.

mod command;

pub use command::CommandFilter;

use std::fmt::Debug;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use crate::output::RgbImage;

/// Judges pictures.
pub trait SafetyFilter: Debug + Send + Sync {
    /// Whether this picture may leave. Comes back in bounded time.
    ///
    /// # Errors
    /// Whatever kept it from judging; the caller holds the picture back.
    fn judge(&self, image: &RgbImage) -> Result<Verdict, FilterError>;
}

/// What a filter says of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may leave.
    Pass,
    /// It is held back.
    Refuse,
}

/// Why a picture could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The program does not start, or the way to it broke.
    #[error("the safety filter could not be run")]
    Run(#[from] std::io::Error),
    /// The picture could not be written for it.
    #[error("the picture could not be written for the safety filter")]
    Encode(#[from] png::EncodingError),
    /// It gave no answer in time.
    #[error("the safety filter gave no answer within {limit:?}")]
    TimedOut {
        /// The time it had.
        limit: Duration,
    },
    /// It ended in failure.
    #[error("the safety filter failed ({status})")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
    /// It said something other than its two words.
    #[error("the safety filter answered neither `pass` nor `refuse`")]
    Garbage,
}

/// Which filter to use, as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterChoice {
    /// None: every picture may leave.
    None,
    /// `command:PATH`: a program, started for each picture.
    Command(PathBuf),
}

impl FromStr for FilterChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("command", path)) if !path.is_empty() => Ok(Self::Command(PathBuf::from(path))),
            None | Some(_) => Err(format!("`{text}` names no safety filter; take `none` or `command:PATH`")),
        }
    }
}
