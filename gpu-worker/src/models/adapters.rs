//! Which changes apply to which rows of a batch: rows of one forward pass may carry different LoRAs, or none.
//!
//! What a group of rows gets depends on nothing but the group: its products are made for itself, whatever the batch
//! (a product of more rows may sum in another order), and rows without adapters are not touched. So a lane should push
//! its rows as one group, however many lanes share a batch.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

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

    /// Whether any of them changes a layer.
    pub(crate) fn touch(&self, layer: &str) -> bool {
        self.groups.iter().any(|(_, adapters)| adapters.iter().any(|adapter| adapter.deltas.contains_key(layer)))
    }

    /// Adds to `y`, which a linear layer has just made of `x` (both with the rows first), what adapters change of it.
    pub(crate) fn change_linear(&self, layer: &str, x: &Tensor, y: Tensor) -> Result<Tensor> {
        self.change(layer, x, y, |x, delta| kernels::matmul_t(&kernels::matmul_t(x, &delta.down)?, &delta.up))
    }

    /// The same for a convolution, whose down half is one of the same stride and padding.
    pub(crate) fn change_conv(&self, layer: &str, x: &Tensor, y: Tensor, moves: Moves) -> Result<Tensor> {
        self.change(layer, x, y, |x, delta| {
            // A 1x1 kernel is kept as a matrix.
            let kernel = |matrix: &Tensor| match matrix.dims2() {
                Ok((outer, inner)) => matrix.reshape((outer, inner, 1, 1)),
                Err(_) => Ok(matrix.clone()),
            };
            let low = kernels::conv2d(x, &kernel(&delta.down)?, moves, With::default())?;
            kernels::conv2d(&low, &kernel(&delta.up)?, Moves::default(), With::default())
        })
    }

    fn change(
        &self,
        layer: &str,
        x: &Tensor,
        y: Tensor,
        product: impl Fn(&Tensor, &Delta) -> Result<Tensor>,
    ) -> Result<Tensor> {
        for (rows, adapters) in &self.groups {
            let deltas: Vec<(&Delta, f64)> = adapters
                .iter()
                .filter_map(|adapter| adapter.deltas.get(layer).map(|delta| (delta, adapter.weight)))
                .collect();
            if deltas.is_empty() {
                continue;
            }
            let x = x.narrow(0, rows.start, rows.len())?.contiguous()?;
            let mut changed = y.narrow(0, rows.start, rows.len())?;
            for (delta, weight) in deltas {
                let made = product(&x, delta)?.reshape(changed.shape())?;
                changed = (changed + (made * (delta.scale * weight))?)?;
            }
            // In place: `y` is the layer's own answer, which nobody else holds yet.
            y.slice_set(&changed, 0, rows.start)?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use super::{Adapter, RowAdapters};
    use crate::kernels::Moves;
    use crate::rng::Mt19937;
    use crate::weights::Delta;

    #[test]
    fn a_group_of_rows_gets_the_same_bits_whoever_shares_its_batch() {
        for (shape, down, up) in [
            (vec![5, 7, 24], vec![3, 24], vec![16, 3]),
            (vec![5, 24], vec![1, 24], vec![16, 1]),
            (vec![5, 24, 4, 6], vec![3, 24, 3, 3], vec![16, 3, 1, 1]),
            (vec![5, 24, 4, 6], vec![3, 24], vec![16, 3]),
        ] {
            let sets = [adapters(&down, &up, &[]), adapters(&down, &up, &[0.5]), adapters(&down, &up, &[1.0, -2.0])];
            let groups = [(0..1, &sets[1]), (1..3, &sets[2]), (3..4, &sets[0]), (4..5, &sets[1])];
            let (x, y) = (random(&shape, 1), answers(&shape, 2));
            let mut all = RowAdapters::default();
            for (rows, set) in &groups {
                all.push(rows.clone(), set);
            }
            let together = change(&all, &x, &y);
            for (rows, set) in groups {
                let part = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len()).unwrap();
                let alone = change(&RowAdapters::all(rows.len(), set), &part(&x), &part(&y));
                assert_eq!(bits(&alone), bits(&part(&together)), "{shape:?}, rows {rows:?}");
                assert_eq!(set.is_empty(), bits(&alone) == bits(&part(&y)), "{shape:?}, rows {rows:?}");
            }
        }
    }

    #[test]
    fn a_weight_of_nothing_and_a_layer_not_named_change_no_bit() {
        let (x, y) = (random(&[2, 3, 24], 1), answers(&[2, 3, 24], 2));
        let nothing = RowAdapters::all(2, &adapters(&[3, 24], &[16, 3], &[0.0]));
        assert_eq!(bits(&change(&nothing, &x, &y)), bits(&y));
        let one = RowAdapters::all(2, &adapters(&[3, 24], &[16, 3], &[1.0]));
        assert_eq!(bits(&one.change_linear("other", &x, y.copy().unwrap()).unwrap()), bits(&y));
        assert!(RowAdapters::all(3, &adapters(&[3, 24], &[16, 3], &[1.0])).change_linear("layer", &x, y).is_err());
    }

    fn change(rows: &RowAdapters, x: &Tensor, y: &Tensor) -> Tensor {
        let y = y.copy().unwrap();
        let changed = if x.rank() == 4 {
            rows.change_conv("layer", x, y, Moves { stride: 1, padding: usize::from(pads(rows)) })
        } else {
            rows.change_linear("layer", x, y)
        };
        changed.unwrap()
    }

    /// A kernel of three pixels keeps the size by a padding of one.
    fn pads(rows: &RowAdapters) -> bool {
        rows.groups.iter().any(|(_, set)| set.iter().any(|one| one.deltas["layer"].down.rank() == 4))
    }

    fn adapters(down: &[usize], up: &[usize], weights: &[f64]) -> Vec<Adapter> {
        let delta = |seed| Delta { down: random(down, seed), up: random(up, seed + 1), scale: 0.7 };
        let deltas = |seed| BTreeMap::from([("layer".into(), delta(seed))]).into();
        (10..).step_by(2).zip(weights).map(|(seed, weight)| Adapter { deltas: deltas(seed), weight: *weight }).collect()
    }

    /// What a layer of 16 channels answered.
    fn answers(shape: &[usize], seed: u64) -> Tensor {
        let mut shape = shape.to_vec();
        let channels = if shape.len() == 4 { 1 } else { shape.len() - 1 };
        shape[channels] = 16;
        random(&shape, seed)
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Tensor::from_vec(Mt19937::new(seed).randn(shape.iter().product()), shape, &Device::Cpu).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }
}
