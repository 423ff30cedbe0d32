//! Which changes apply to which rows of a batch: rows of one forward pass may carry different LoRAs, or none.
//!
//! What a group of rows gets depends on nothing but the group: its products are made for itself, whatever the batch, in a
//! way chosen by its own size, and rows without adapters go through the model's own weights. So a lane should push its
//! rows as one group, however many lanes share a batch.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, Result, Tensor};

use crate::kernels::{self, Moves, With};
use crate::weights::{Delta, Deltas};

/// No adapters at all.
pub static NO_ADAPTERS: RowAdapters = RowAdapters { groups: Vec::new() };

/// One network's changes by one LoRA, and how strongly they apply.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The changes.
    pub deltas: Arc<Deltas>,
    /// 1 as trained; 0 is the same as no adapter.
    pub weight: f64,
}

/// The adapters of each row of a batch.
#[derive(Clone, Debug, Default)]
pub struct RowAdapters {
    groups: Vec<(Range<usize>, Vec<Adapter>)>,
}

impl RowAdapters {
    /// The same adapters for the first `rows` rows.
    pub fn all(rows: usize, adapters: &[Adapter]) -> Self {
        let mut all = Self::default();
        all.push(0..rows, adapters);
        all
    }

    /// Adds adapters for a range of rows that has none yet.
    pub fn push(&mut self, rows: Range<usize>, adapters: &[Adapter]) {
        let working: Vec<Adapter> = adapters.iter().filter(|adapter| adapter.weight != 0.0).cloned().collect();
        if !working.is_empty() && !rows.is_empty() {
            self.groups.push((rows, working));
        }
    }

    /// Those of a range of rows, counted from its first.
    pub(crate) fn within(&self, range: Range<usize>) -> Self {
        let mut own = Self::default();
        for (rows, adapters) in &self.groups {
            let (start, end) = (rows.start.max(range.start), rows.end.min(range.end));
            if start < end {
                own.push(start - range.start..end - range.start, adapters);
            }
        }
        own
    }

    /// What a layer makes of `x`, with what adapters change of it for the rows, which are the first dimension of all. Rows
    /// that no change is folded in for go through the layer's own weights together.
    pub(crate) fn apply(&self, layer: Layer<'_>, x: &Tensor) -> Result<Tensor> {
        let stretches = self.stretches(layer, x)?;
        if stretches.last().is_some_and(|last| x.dim(0).is_ok_and(|count| last.rows.end > count)) {
            candle_core::bail!("adapters for more rows than {:?} has", x.dims());
        }
        let mut parts = Vec::with_capacity(stretches.len());
        for some in stretches.chunk_by(|one, next| !one.folds && !next.folds) {
            let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
            let part = |tensor: &Tensor| tensor.narrow(0, first.rows.start, last.rows.end - first.rows.start);
            let With { bias, rest, precision } = layer.with;
            // One for each row, or one for all.
            let bias = bias.map(|bias| if bias.rank() == 2 { part(bias) } else { Ok(bias.clone()) }).transpose()?;
            let rest = rest.map(part).transpose()?;
            let with = With { bias: bias.as_ref(), rest: rest.as_ref(), precision };
            Layer { with, ..layer }.go(&part(x)?, some, &mut parts)?;
        }
        if let [all] = &parts[..] { Ok(all.clone()) } else { Tensor::cat(&parts, 0) }
    }

    /// Rows that go together through a layer, in order: those of a group that changes it, and those between groups.
    fn stretches(&self, layer: Layer<'_>, x: &Tensor) -> Result<Vec<Stretch<'_>>> {
        let count = x.dim(0)?;
        let plain = |rows| Stretch { rows, changes: Vec::new(), folds: false };
        let mut stretches = Vec::new();
        let mut next = 0;
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(rows, _)| rows.start);
        for (rows, adapters) in groups {
            let changes: Vec<Change<'_>> = adapters
                .iter()
                .filter_map(|adapter| adapter.deltas.get(layer.name).map(|delta| (delta, adapter.weight)))
                .collect();
            if changes.is_empty() {
                continue;
            }
            if next < rows.start {
                stretches.push(plain(next..rows.start));
            }
            next = rows.end;
            let folds = layer.folds(x, rows.len())?;
            stretches.push(Stretch { rows: rows.clone(), changes, folds });
        }
        if next < count || stretches.is_empty() {
            stretches.push(plain(next..count));
        }
        Ok(stretches)
    }
}

/// Rows that one group's changes apply to, or none.
struct Stretch<'a> {
    rows: Range<usize>,
    changes: Vec<Change<'a>>,
    /// Whether they are folded into the layer's weights.
    folds: bool,
}

/// What one adapter changes of one layer, and how strongly.
type Change<'a> = (&'a Delta, f64);

/// A layer as its network has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer<'a> {
    /// What adapters know it by.
    pub(crate) name: &'a str,
    pub(crate) way: Way,
    /// Its first dimension is what it makes.
    pub(crate) weight: &'a Tensor,
    pub(crate) with: With<'a>,
}

/// How a layer goes over its input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// `x W^T` over the last dimension.
    Linear,
    /// The same over the channels of a map, giving tokens.
    MapToTokens,
    /// The same over tokens, giving a map of the shape of what is added.
    TokensToMap,
    /// A convolution.
    Conv(Moves),
}

impl Way {
    fn apply(self, x: &Tensor, weight: &Tensor, with: With<'_>) -> Result<Tensor> {
        match (self, with.rest) {
            (Self::Linear, _) => kernels::linear(x, weight, with),
            (Self::MapToTokens, _) => kernels::map_to_tokens(x, weight, with),
            (Self::TokensToMap, Some(like)) => kernels::tokens_to_map(x, weight, with, like.dims()),
            (Self::TokensToMap, None) => candle_core::bail!("a map needs one it is added to"),
            (Self::Conv(moves), _) => kernels::conv2d(x, weight, moves, with),
        }
    }

    /// About how many times the weights are gone through.
    fn positions(self, x: &Tensor) -> Result<usize> {
        Ok(match self {
            Self::Linear | Self::TokensToMap => x.elem_count() / x.dim(D::Minus1)?.max(1),
            Self::MapToTokens => x.elem_count() / x.dim(1)?.max(1),
            Self::Conv(moves) => x.elem_count() / x.dim(1)?.max(1) / (moves.stride * moves.stride).max(1),
        })
    }
}

impl Layer<'_> {
    /// What leads to one output, and how many outputs there are.
    fn sides(&self) -> Result<(usize, usize)> {
        let outer = self.weight.dim(0)?;
        Ok((self.weight.elem_count() / outer.max(1), outer))
    }

    /// Whether changes for so many rows of `x`, which are one lane's own, are put into a copy of the weights that lasts for
    /// one call, or made of `x` by themselves and added: whichever is less work.
    fn folds(&self, x: &Tensor, rows: usize) -> Result<bool> {
        let ((inner, outer), positions) = (self.sides()?, self.way.positions(x)? * rows / x.dim(0)?.max(1));
        Ok(positions * (inner + outer) > inner * outer)
    }

    /// Makes of `x` what some stretches of its rows come to: one whose changes are folded in, or several without such.
    fn go(self, x: &Tensor, stretches: &[Stretch<'_>], parts: &mut Vec<Tensor>) -> Result<()> {
        if let [Stretch { changes, folds: true, .. }] = stretches {
            parts.push(self.folded(x, changes)?);
            return Ok(());
        }
        let (all, mut first) = (self.way.apply(x, self.weight, self.with)?, 0);
        for Stretch { rows, changes, .. } in stretches {
            let own = |tensor: &Tensor| tensor.narrow(0, first, rows.len());
            let y = own(&all)?;
            parts.push(if changes.is_empty() { y } else { self.added(&own(x)?, &y, changes)? });
            first += rows.len();
        }
        Ok(())
    }

    /// With the changes in its weights.
    fn folded(self, x: &Tensor, changes: &[Change<'_>]) -> Result<Tensor> {
        let ((inner, outer), (down, up)) = (self.sides()?, stacked(changes)?);
        let folded = kernels::matmul_onto(&up, &down, &self.weight.reshape((outer, inner))?)?;
        self.way.apply(x, &folded.reshape(self.weight.shape())?, self.with)
    }

    /// What the changes make of `x`, on top of what the layer has made of it.
    fn added(self, x: &Tensor, y: &Tensor, changes: &[Change<'_>]) -> Result<Tensor> {
        let ((_, outer), (down, up)) = (self.sides()?, stacked(changes)?);
        let (onto, plain, rank) = (With { rest: Some(y), ..With::default() }, With::default(), down.dim(0)?);
        match self.way {
            Way::Linear => kernels::linear(&kernels::linear(x, &down, plain)?, &up, onto),
            Way::MapToTokens => kernels::linear(&kernels::map_to_tokens(x, &down, plain)?, &up, onto),
            Way::TokensToMap => self.way.apply(&kernels::linear(x, &down, plain)?, &up, onto),
            Way::Conv(moves) => {
                let mut shape = self.weight.dims().to_vec();
                shape[0] = rank;
                let low = kernels::conv2d(x, &down.reshape(shape)?, moves, plain)?;
                kernels::conv2d(&low, &up.reshape((outer, rank, 1, 1))?, Moves::default(), onto)
            }
        }
    }
}

/// All changes as one: (ranks, in), and (out, ranks) with their scales and weights in it.
fn stacked(changes: &[Change<'_>]) -> Result<(Tensor, Tensor)> {
    let flat = |tensor: &Tensor| if tensor.rank() == 2 { Ok(tensor.clone()) } else { tensor.flatten_from(1) };
    let down = changes.iter().map(|(delta, _)| flat(&delta.down)).collect::<Result<Vec<_>>>()?;
    let up = changes.iter().map(|(delta, weight)| flat(&delta.up)? * (delta.scale * weight));
    Ok((Tensor::cat(&down, 0)?, Tensor::cat(&up.collect::<Result<Vec<_>>>()?, 1)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use super::{Adapter, Layer, RowAdapters, Way};
    use crate::kernels::{Moves, With};
    use crate::rng::Mt19937;
    use crate::weights::Delta;

    /// Input, halves of a change, and a weight that goes with them: few positions, so that changes are added, and many,
    /// so that they are folded in.
    fn cases() -> Vec<(Way, Vec<usize>, [Vec<usize>; 3])> {
        let three = Way::Conv(Moves { stride: 1, padding: 1 });
        let linear = || [vec![3, 24], vec![16, 3], vec![16, 24]];
        vec![
            (Way::Linear, vec![5, 24], linear()),
            (Way::Linear, vec![5, 70, 24], linear()),
            (Way::MapToTokens, vec![5, 24, 2, 2], linear()),
            (Way::MapToTokens, vec![5, 24, 8, 9], linear()),
            (Way::TokensToMap, vec![5, 4, 24], linear()),
            (Way::TokensToMap, vec![5, 70, 24], linear()),
            (three, vec![5, 24, 3, 2], [vec![3, 24, 3, 3], vec![16, 3, 1, 1], vec![16, 24, 3, 3]]),
            (three, vec![5, 24, 9, 10], [vec![3, 24, 3, 3], vec![16, 3, 1, 1], vec![16, 24, 3, 3]]),
            (Way::Conv(Moves::default()), vec![5, 24, 9, 10], [vec![3, 24], vec![16, 3], vec![16, 24, 1, 1]]),
        ]
    }

    #[test]
    fn a_group_of_rows_gets_the_same_bits_whoever_shares_its_batch() {
        for (way, shape, [down, up, weight]) in cases() {
            let sets = [adapters(&down, &up, &[]), adapters(&down, &up, &[0.5]), adapters(&down, &up, &[1.0, -2.0])];
            let groups = [(0..1, &sets[1]), (1..3, &sets[2]), (3..4, &sets[0]), (4..5, &sets[1])];
            let (x, weight) = (random(&shape, 1), random(&weight, 2));
            let mut all = RowAdapters::default();
            for (rows, set) in &groups {
                all.push(rows.clone(), set);
            }
            let (together, plain) = (apply(&all, way, &x, &weight), apply(&RowAdapters::default(), way, &x, &weight));
            for (rows, set) in groups {
                let part = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len()).unwrap().contiguous().unwrap();
                let alone = apply(&RowAdapters::all(rows.len(), set), way, &part(&x), &weight);
                assert_eq!(bits(&alone), bits(&part(&together)), "{way:?} {shape:?}, rows {rows:?}");
                assert_eq!(set.is_empty(), bits(&alone) == bits(&part(&plain)), "{way:?} {shape:?}, rows {rows:?}");
            }
        }
    }

    #[test]
    fn folded_or_added_it_is_the_sum_of_the_changes() {
        for (way, shape, [down, up, weight]) in cases() {
            let (x, weight, set) = (random(&shape, 1), random(&weight, 2), adapters(&down, &up, &[1.0, -2.0]));
            let ours = apply(&RowAdapters::all(5, &set), way, &x, &weight);
            let matrix = |tensor: &Tensor| tensor.flatten_from(1).unwrap();
            let mut changed = matrix(&weight);
            for Adapter { deltas, weight } in &set {
                let delta = &deltas["layer"];
                let product = matrix(&delta.up).matmul(&matrix(&delta.down)).unwrap();
                changed = (changed + (product * (delta.scale * weight)).unwrap()).unwrap();
            }
            let changed = changed.reshape(weight.dims()).unwrap();
            let expected = apply(&RowAdapters::default(), way, &x, &changed);
            let off = (ours - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(off.to_scalar::<f32>().unwrap() < 2e-4, "{way:?} {shape:?}: off by {off}");
        }
    }

    #[test]
    fn a_weight_of_nothing_and_a_layer_not_named_change_no_bit() {
        let (x, weight) = (random(&[2, 3, 24], 1), random(&[16, 24], 2));
        let plain = bits(&apply(&RowAdapters::default(), Way::Linear, &x, &weight));
        let nothing = RowAdapters::all(2, &adapters(&[3, 24], &[16, 3], &[0.0]));
        assert_eq!(bits(&apply(&nothing, Way::Linear, &x, &weight)), plain);
        let one = RowAdapters::all(2, &adapters(&[3, 24], &[16, 3], &[1.0]));
        let bias = random(&[16], 3);
        let layer = |name| Layer { name, way: Way::Linear, weight: &weight, with: With::bias(Some(&bias)) };
        assert_eq!(bits(&one.apply(layer("other"), &x).unwrap()), plain);
        let more = RowAdapters::all(3, &adapters(&[3, 24], &[16, 3], &[1.0]));
        assert!(more.apply(layer("layer"), &x).is_err());
    }

    fn apply(rows: &RowAdapters, way: Way, x: &Tensor, weight: &Tensor) -> Tensor {
        let batch = x.dim(0).unwrap();
        let (bias, like) = (random(&[16], 3), x.dims());
        let rest = match way {
            // The same for each row, whichever rows are asked about.
            Way::TokensToMap => Some(random(&[1, 16, like[1], 1], 5).repeat((batch, 1, 1, 1)).unwrap()),
            Way::Linear | Way::MapToTokens | Way::Conv(_) => None,
        };
        let with = With { bias: Some(&bias), rest: rest.as_ref(), ..With::default() };
        rows.apply(Layer { name: "layer", way, weight, with }, x).unwrap()
    }

    fn adapters(down: &[usize], up: &[usize], weights: &[f64]) -> Vec<Adapter> {
        let delta = |seed| Delta { down: random(down, seed), up: random(up, seed + 1), scale: 0.7 };
        let deltas = |seed| BTreeMap::from([("layer".into(), delta(seed))]).into();
        (10..).step_by(2).zip(weights).map(|(seed, weight)| Adapter { deltas: deltas(seed), weight: *weight }).collect()
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Tensor::from_vec(Mt19937::new(seed).randn(shape.iter().product()), shape, &Device::Cpu).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }
}
