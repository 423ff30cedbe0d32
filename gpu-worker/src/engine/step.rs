//! One call of the denoiser over all rows of some lanes. No row knows of the others: each has its own timestep, its own
//! prompt of its own length, its own sizes. On the CPU a lane gets the same bits here whoever is beside it.

use std::ops::Range;

use candle_core::Tensor;

use super::control::{LaneRows, follow};
use super::lane::{Lane, LatentSize};
use crate::models::adapters::RowAdapters;
use crate::models::unet::{Added, Conditions, Extras, Residuals, SIZES};
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
    adapters: RowAdapters,
    controls: Vec<(Range<usize>, Residuals)>,
}

/// Takes every lane one evaluation further. All are of one model and one shape, and none is over.
pub(crate) fn step(lanes: &mut [&mut Lane]) -> Result<(), PipelineError> {
    if let [lane] = lanes
        && lane.is_between_passes()
    {
        return lane.begin_second_pass();
    }
    // Equally long prompts side by side make fewer calls of attention, and those without LoRAs fewer products.
    lanes.sort_by_key(|lane| (lane.tokens(), !lane.adapters.is_empty()));
    let Some(first) = lanes.first() else { return Ok(()) };
    let (model, size) = (std::sync::Arc::clone(&first.model), first.pass.size);
    let rows = gather(lanes)?;
    let output = denoise(&model, size, rows)?;
    let mut rest = output.as_slice();
    for lane in lanes {
        let (own, others) = rest.split_at(lane.rows() * size.values());
        lane.take_in(own);
        rest = others;
    }
    Ok(())
}

fn gather(lanes: &[&mut Lane]) -> Result<Rows, PipelineError> {
    let mut rows = Rows::default();
    let mut tokens = None;
    for lane in lanes {
        let input = lane.pass.run.model_input(&lane.pass.latent);
        // What SDXL is told as the original and the target size is the picture's own; nothing is cropped.
        let (height, width) = (lane.pass.pixels.0 as f32, lane.pass.pixels.1 as f32);
        let own = rows.timesteps.len()..rows.timesteps.len() + lane.rows();
        for _ in 0..lane.rows() {
            rows.values.extend(&input);
            rows.values.extend(&lane.pass.beside);
            rows.timesteps.extend(lane.pass.run.timestep());
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
        rows.adapters.push(own.clone(), &lane.adapters);
        if !lane.controls.is_empty() {
            let (timesteps, sizes) = (&rows.timesteps[own.clone()], &rows.sizes[own.clone()]);
            rows.controls.extend(controlled(lane, &input, timesteps, sizes)?.map(|residuals| (own, residuals)));
        }
    }
    Ok(rows)
}

/// What a lane's ControlNets add for its rows. They are asked for each lane by itself, so that it gets the same bits
/// whoever is beside it.
fn controlled(
    lane: &Lane,
    input: &[f32],
    timesteps: &[f32],
    sizes: &[[f32; SIZES]],
) -> Result<Option<Residuals>, PipelineError> {
    let LatentSize { channels, height, width } = lane.pass.size;
    let shape = (timesteps.len(), channels, height, width);
    let latents = Tensor::from_vec(input.repeat(timesteps.len()), shape, &lane.model.device)?;
    let added = lane.told.pooled.as_ref().filter(|_| lane.model.sized).map(|pooled| Added { pooled, sizes });
    let conditions = Conditions { contexts: std::slice::from_ref(&lane.told.context), added };
    let at = (lane.pass.run.done() as u32, lane.pass.run.steps() as u32);
    Ok(follow(&lane.controls, at, &LaneRows { latents: &latents, timesteps, conditions })?)
}

fn denoise(model: &crate::pipeline::LoadedModel, size: LatentSize, rows: Rows) -> Result<Vec<f32>, PipelineError> {
    let Rows { values, timesteps, contexts, pooled, sizes, adapters, controls } = rows;
    let LatentSize { height, width, .. } = size;
    // The latent's, and in a denoiser made for inpainting those beside it.
    let channels = values.len() / (timesteps.len() * height * width).max(1);
    let input = Tensor::from_vec(values, (timesteps.len(), channels, height, width), &model.device)?;
    let contexts =
        contexts.iter().map(|neighbours| Tensor::cat(neighbours, 0)).collect::<candle_core::Result<Vec<_>>>()?;
    let pooled = if pooled.is_empty() { None } else { Some(Tensor::cat(&pooled, 0)?) };
    let added = pooled.as_ref().filter(|_| model.sized).map(|pooled| Added { pooled, sizes: &sizes });
    let conditions = Conditions { contexts: &contexts, added };
    let extras = Extras { adapters: &adapters, controls: &controls };
    Ok(model.unet.forward_with(&input, &timesteps, conditions, extras)?.flatten_all()?.to_vec1()?)
}
