//! A model's `config.json` of each kind. Which one is said by the first byte; the rest is the file.

use tintype_worker::models::clip::ClipConfig;
use tintype_worker::models::unet::UNetConfig;
use tintype_worker::models::vae::VaeConfig;
use tintype_worker::samplers::{NoiseSchedule, ScheduleConfig};
use tintype_worker::weights::read_json;

use crate::scratch::file_of;

/// No picture is halved more often than this, nor has a latent's pixel a longer side.
const SIDE_MAX: usize = 1 << 16;

pub(crate) fn run(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    let path = file_of(text);
    match kind % 4 {
        0 => {
            if let Ok(config) = UNetConfig::read(&path) {
                assert!(config.halvings() < 16 && config.context_channels() > 0 && config.in_channels > 0);
            }
        }
        1 => {
            if let Ok(config) = ClipConfig::read(&path) {
                assert!(config.hidden_size > 0 && config.layer_norm_eps > 0.0);
            }
        }
        2 => {
            if let Ok(config) = VaeConfig::read(&path) {
                assert!(config.factor() <= SIDE_MAX && config.latent_channels > 0);
            }
        }
        _ => {
            let read: Result<ScheduleConfig, _> = read_json(&path);
            let _made = read.map(NoiseSchedule::new);
        }
    }
}
