//! Files a request reads: uploaded first, then named by the keys the server answers.

use std::path::Path;

use anyhow::{Context, Result};
use tintype_types::{ControlUse, GenerationRequest, Hires, InitImage};

use crate::args::InputArgs;
use crate::client::Client;

/// Adds what the flags name to the request. Uploading the same file again costs nothing: the server keeps it once.
pub(crate) async fn add(request: &mut GenerationRequest, args: &InputArgs, client: &Client) -> Result<()> {
    let InputArgs { lora, control, init, strength, mask, hires, hires_strength, format } = args;
    request.loras.clone_from(lora);
    request.format = *format;
    request.hires = hires.map(|(width, height)| Hires { width, height, strength: *hires_strength });
    for use_of in control {
        let image = upload(client, &use_of.file).await?;
        let (name, weight) = (use_of.name.clone(), use_of.weight);
        request.controls.push(ControlUse { name, image, weight, start: 0.0, end: 1.0 });
    }
    if let Some(init) = init {
        let image = upload(client, init).await?;
        let mask = match mask {
            Some(mask) => Some(upload(client, mask).await?),
            None => None,
        };
        request.init = Some(InitImage { image, strength: *strength, mask });
    }
    Ok(())
}

async fn upload(client: &Client, file: &Path) -> Result<String> {
    let content = tokio::fs::read(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    client.upload(content).await.with_context(|| format!("cannot upload {}", file.display()))
}
