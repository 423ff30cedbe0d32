//! Which device to draw on, chosen when the worker starts.

use std::str::FromStr;

use candle_core::Device;

use super::PipelineError;

/// What the person who starts a worker asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device in a build that has CUDA and where there is one, else the CPU; the log says which.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This CUDA device or none.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number of a device; say cuda:0"));
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", text)) => number(text).map(Self::Cuda),
            None | Some(_) => Err("say auto, cpu or cuda:N".to_owned()),
        }
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// A CUDA device that was asked for and cannot be had.
    pub(super) fn open(self) -> Result<Device, PipelineError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
            Self::Auto => Ok(cuda(0).unwrap_or_else(|error| {
                tracing::warn!(%error, "drawing on the CPU");
                Device::Cpu
            })),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(PipelineError::Unsupported(
                "this build cannot use a GPU; use the one built with --features cuda, or say --device cpu".to_owned(),
            )),
            Self::Cuda(number) => cuda(number),
        }
    }
}

fn cuda(number: usize) -> Result<Device, PipelineError> {
    Device::new_cuda(number).map_err(|error| {
        PipelineError::Unsupported(format!(
            "there is no CUDA device {number} to be had ({error}); see whether nvidia-smi lists it, or say --device cpu"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_or_what_can_be_said_is_told() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cpu:1"] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("say "), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_draws_on_the_cpu_and_says_so_when_more_was_asked() {
        assert!(matches!(DeviceChoice::Auto.open(), Ok(Device::Cpu)));
        let error = DeviceChoice::Cuda(0).open().unwrap_err();
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }
}
