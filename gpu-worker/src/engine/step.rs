//! One call of the denoiser over all rows of some lanes. No row knows of the others: each has its own timestep, its own
//! prompt of its own length, its own sizes. On the CPU a lane gets the same bits here whoever is beside it.

use candle_core::Tensor;

use super::lane::{Lane, LatentSize};
use crate::models::unet::{Added, Conditions, SIZES};
use crate::pipeline::PipelineError;

/// What the denoiser is given: rows of all lanes, one after the other.
#[derive(Default)]
struct Rows {
    values: Vec<f32>,
    timesteps: Vec<f32>,
    /// Prompts of neighbours that are equally long.
    contexts: Vec<Vec<Tensor>>,
    pooled: Vec<Tensor>,
    sizes: Vec<[f32; SIZES]>,
}

/// Takes every lane one evaluation further. All are of one model and one shape, and none is over.
pub(crate) fn step(lanes: &mut [&mut Lane]) -> Result<(), PipelineError> {
    // Equally long prompts side by side make fewer calls of attention.
    lanes.sort_by_key(|lane| lane.tokens());
    let Some(first) = lanes.first() else { return Ok(()) };
    let (model, size) = (std::sync::Arc::clone(&first.model), first.size);
    let rows = gather(lanes);
    let output = denoise(&model, size, rows)?;
    let mut rest = output.as_slice();
    for lane in lanes {
        let (own, others) = rest.split_at(lane.rows() * size.values());
        lane.take_in(own);
        rest = others;
    }
    Ok(())
}

fn gather(lanes: &[&mut Lane]) -> Rows {
    let mut rows = Rows::default();
    let mut tokens = None;
    for lane in lanes {
        let input = lane.run.model_input(&lane.latent);
        // What SDXL is told as the original and the target size is the picture's own; nothing is cropped.
        let (height, width) = (lane.pixels.0 as f32, lane.pixels.1 as f32);
        for _ in 0..lane.rows() {
            rows.values.extend(&input);
            rows.timesteps.extend(lane.run.timestep());
            rows.sizes.push([height, width, 0.0, 0.0, height, width]);
        }
        if tokens != Some(lane.tokens()) {
            tokens = Some(lane.tokens());
            rows.contexts.push(Vec::new());
        }
        if let Some(neighbours) = rows.contexts.last_mut() {
            neighbours.push(lane.told.context.clone());
        }
        rows.pooled.extend(lane.told.pooled.clone());
    }
    rows
}

fn denoise(model: &crate::pipeline::LoadedModel, size: LatentSize, rows: Rows) -> Result<Vec<f32>, PipelineError> {
    let Rows { values, timesteps, contexts, pooled, sizes } = rows;
    let LatentSize { channels, height, width } = size;
    let input = Tensor::from_vec(values, (timesteps.len(), channels, height, width), &model.device)?;
    let contexts =
        contexts.iter().map(|neighbours| Tensor::cat(neighbours, 0)).collect::<candle_core::Result<Vec<_>>>()?;
    let pooled = if pooled.is_empty() { None } else { Some(Tensor::cat(&pooled, 0)?) };
    let added = pooled.as_ref().filter(|_| model.sized).map(|pooled| Added { pooled, sizes: &sizes });
    let conditions = Conditions { contexts: &contexts, added };
    Ok(model.unet.forward(&input, &timesteps, conditions)?.flatten_all()?.to_vec1()?)
}
