//! Exact attention in blocks: scores of a block of keys, their softmax, the weighted values, with the sums so far
//! corrected whenever a block holds a larger score (online softmax, Milakov and Gimelshein 2018).
//!
//! Queries lie side by side in the vectors, so that softmax runs down the columns without a sum across a register, and
//! what it leaves is already packed as the right factor of the second product. Memory is a few blocks a thread, however
//! long the sequence. Each (sample, head, query) is worked out in one order, whatever stands beside it.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use std::cell::Cell;
use std::ops::Range;

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::{IntoParallelIterator as _, ParallelIterator as _};

use super::data::{self, Numbers};
use super::elsewhere::product;
use super::level::{self, Level, Loops};
use super::math::exp_down;
use super::pack::{BLOCK, Matrix, Order, turn};
use super::precision::Precision;
use super::shared::{Fresh, Shared};
use super::tile::{COLUMNS, Left, Line, ROWS, add_products, scale};
use super::{matmul, matmul_t};

/// Keys of a block: 32 KiB of scores.
const KEYS: usize = 256;
/// Queries, in lines of 32, that share the packing of a block of keys.
const QUERY_LINES: usize = 16;
/// Scores held at a time on other devices, in numbers: 64 MiB of fp32.
const SCORES_MAX: usize = 16 << 20;
/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 20;

/// Attention of queries (batch, n, channels) over keys and values (batch, m, channels), the channels split into `heads`;
/// `mask` (n, m) is added to the scores. The answer has the shape of the queries. On a GPU, what is multiplied is rounded to
/// `precision`; a CPU rounds nothing here.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn attention(
    [queries, keys, values]: [&Tensor; 3],
    heads: usize,
    mask: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let (batch, queried, channels) = queries.dims3()?;
    let (_, keyed, _) = keys.dims3()?;
    if heads == 0 || !channels.is_multiple_of(heads) || keys.dims3()? != (batch, keyed, channels) || keyed == 0 {
        bail!("attention of {:?} over {:?} in {heads} heads", queries.dims(), keys.dims());
    }
    if values.dims() != keys.dims() || mask.is_some_and(|mask| mask.dims() != [queried, keyed]) {
        bail!("attention wants as many values as keys, and a mask for each pair of a query and a key");
    }
    if !queries.device().is_cpu() {
        #[cfg(feature = "cuda")]
        if let Some(answer) = super::fused::attention([queries, keys, values], heads, mask, precision)? {
            return Ok(answer);
        }
        return plain([queries, keys, values], heads, mask, precision);
    }
    let mask = mask.map(Tensor::contiguous).transpose()?;
    let (queries, keys, values) = (queries.contiguous()?, keys.contiguous()?, values.contiguous()?);
    let (q, k, v) = (Numbers::of(&queries)?, Numbers::of(&keys)?, Numbers::of(&values)?);
    let mask = mask.as_ref().map(Numbers::of).transpose()?;
    let attend = Attend {
        level: Level::best(),
        queries: q.slice(),
        keys: k.slice(),
        values: v.slice(),
        mask: mask.as_ref().map(Numbers::slice),
        queried,
        keyed,
        channels,
        heads,
    };
    data::tensor(attend.compute(batch), (batch, queried, channels))
}

/// The same by candle's operations, in slices of queries: for heads and GPUs that no kernel of ours suits.
fn plain(
    [queries, keys, values]: [&Tensor; 3],
    heads: usize,
    mask: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let (batch, count, channels) = queries.dims3()?;
    let width = channels / heads;
    let split = |x: &Tensor| x.reshape((batch, (), heads, width))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = ((split(queries)? * (1.0 / (width as f64).sqrt()))?, split(keys)?, split(values)?);
    let per_query = batch * heads * k.dim(2)?;
    let slice = (SCORES_MAX / per_query.max(1)).clamp(1, count);
    let mut parts = Vec::with_capacity(count.div_ceil(slice));
    for start in (0..count).step_by(slice) {
        let len = slice.min(count - start);
        let mut scores = product((&q.narrow(2, start, len)?, &k), precision, matmul_t)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(&mask.narrow(0, start, len)?)?;
        }
        let raised = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)?;
        parts.push(product((&weights, &v), precision, matmul)?);
    }
    Tensor::cat(&parts, 2)?.transpose(1, 2)?.reshape((batch, count, channels))
}

/// One attention on the CPU; all tensors (batch, count, channels).
struct Attend<'a> {
    level: Level,
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    mask: Option<&'a [f32]>,
    queried: usize,
    keyed: usize,
    channels: usize,
    heads: usize,
}

/// A run of queries of one head.
#[derive(Clone, Debug)]
struct Share {
    sample: usize,
    head: usize,
    queries: Range<usize>,
}

/// Blocks in work, kept by each thread for the next attention.
#[derive(Default)]
struct Scratch {
    lines: Vec<QueryLine>,
    keys: Vec<Left>,
    values: Vec<Left>,
    scores: Vec<Line>,
}

/// Up to 32 queries: their packed numbers, and what they have gathered so far.
#[derive(Clone, Debug)]
struct QueryLine {
    packed: Vec<Line>,
    /// Largest score, and sum of the exponentials measured from it.
    largest: Line,
    total: Line,
    /// Values weighted so far, a line for each channel of the head (and up to 7 more).
    gathered: Vec<Line>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Attend<'_> {
    fn compute(&self, batch: usize) -> Vec<f32> {
        let len = batch * self.queried * self.channels;
        let mut out = Fresh::new(len);
        let mut shares = Vec::new();
        for (sample, head) in (0..batch).flat_map(|sample| (0..self.heads).map(move |head| (sample, head))) {
            for start in (0..self.queried).step_by(QUERY_LINES * COLUMNS) {
                let queries = start..(start + QUERY_LINES * COLUMNS).min(self.queried);
                shares.push(Share { sample, head, queries });
            }
        }
        let shared = Shared::new(out.numbers());
        if self.products(batch) < PARALLEL_FROM {
            for share in &shares {
                self.run(share, &shared);
            }
        } else {
            shares.into_par_iter().for_each(|share| self.run(&share, &shared));
        }
        #[expect(unsafe_code, reason = "see `Fresh`")]
        // SAFETY: the shares cover every (sample, head, query), and each writes all of its head's channels.
        unsafe {
            out.finish(len)
        }
    }

    /// Multiply-adds of the first product.
    fn products(&self, batch: usize) -> usize {
        batch * self.queried * self.keyed * self.channels
    }

    fn width(&self) -> usize {
        self.channels / self.heads
    }

    fn run(&self, share: &Share, out: &Shared<'_>) {
        let mut scratch = SCRATCH.take();
        let lines = share.queries.len().div_ceil(COLUMNS);
        scratch.lines.resize(lines.max(scratch.lines.len()), QueryLine::EMPTY);
        for (index, line) in scratch.lines[..lines].iter_mut().enumerate() {
            let start = share.queries.start + index * COLUMNS;
            self.open(share, start..(start + COLUMNS).min(share.queries.end), line);
        }
        for start in (0..self.keyed).step_by(KEYS) {
            self.gather(share, start..(start + KEYS).min(self.keyed), &mut scratch);
        }
        for (index, line) in scratch.lines[..lines].iter_mut().enumerate() {
            let start = share.queries.start + index * COLUMNS;
            self.close(share, start..(start + COLUMNS).min(share.queries.end), line, out);
        }
        SCRATCH.set(scratch);
    }

    /// A head's part of a sample of a tensor with `count` rows.
    fn part<'a>(&self, tensor: &'a [f32], count: usize, share: &Share, order: Order) -> Matrix<'a> {
        let start = share.sample * count * self.channels + share.head * self.width();
        Matrix { data: &tensor[start..], stride: self.channels, order }
    }

    /// Packs queries, scaled, with nothing gathered yet.
    fn open(&self, share: &Share, queries: Range<usize>, line: &mut QueryLine) {
        let width = self.width();
        line.packed.resize(width, Line::ZERO);
        let matrix = self.part(self.queries, self.queried, share, Order::ByLine);
        matrix.pack(self.level, queries, 0..width, &mut line.packed);
        let by = Line([1.0 / (width as f32).sqrt(); COLUMNS]);
        scale(self.level, &mut line.packed, &by);
        line.largest = Line([f32::MIN; COLUMNS]);
        line.total = Line::ZERO;
        line.gathered.clear();
        line.gathered.resize(width.next_multiple_of(ROWS), Line::ZERO);
    }

    /// Takes a block of keys into account.
    fn gather(&self, share: &Share, keys: Range<usize>, scratch: &mut Scratch) {
        let Scratch { lines, keys: left_keys, values: left_values, scores } = scratch;
        let width = self.width();
        let (key_tiles, value_tiles) = (keys.len().div_ceil(ROWS), width.div_ceil(ROWS));
        left_keys.resize(key_tiles * width, Left::ZERO);
        let matrix = self.part(self.keys, self.keyed, share, Order::ByLine);
        for (tile, out) in left_keys.chunks_exact_mut(width).enumerate() {
            let start = keys.start + tile * ROWS;
            matrix.pack(self.level, start..(start + ROWS).min(keys.end), 0..width, out);
        }
        left_values.resize(value_tiles * keys.len(), Left::ZERO);
        let matrix = self.part(self.values, self.keyed, share, Order::ByInner);
        for (tile, out) in left_values.chunks_exact_mut(keys.len()).enumerate() {
            matrix.pack(self.level, tile * ROWS..((tile + 1) * ROWS).min(width), keys.clone(), out);
        }
        scores.resize(KEYS, Line::ZERO);
        let lines = &mut lines[..share.queries.len().div_ceil(COLUMNS)];
        for (index, line) in lines.iter_mut().enumerate() {
            // Past the last key a tile may go on, and no further.
            scores[..key_tiles * ROWS].fill(Line::ZERO);
            for (tile, left) in scores.as_chunks_mut().0.iter_mut().zip(left_keys.chunks_exact(width)) {
                add_products(self.level, left, &line.packed, tile);
            }
            let scores = &mut scores[..keys.len()];
            self.mask(share.queries.start + index * COLUMNS, &keys, scores);
            let QueryLine { largest, total, gathered, .. } = line;
            let correction = level::run(self.level, Softmax { scores, largest, total });
            scale(self.level, gathered, &correction);
            for (tile, left) in gathered.as_chunks_mut().0.iter_mut().zip(left_values.chunks_exact(keys.len())) {
                add_products(self.level, left, scores, tile);
            }
        }
    }

    fn mask(&self, first_query: usize, keys: &Range<usize>, scores: &mut [Line]) {
        let Some(mask) = self.mask else { return };
        for (query, row) in (first_query..self.queried).take(COLUMNS).zip(0..) {
            let masked = &mask[query * self.keyed..][keys.clone()];
            scores.iter_mut().zip(masked).for_each(|(line, mask): (&mut Line, _)| line.0[row] += mask);
        }
    }

    /// Divides by the sums and writes the queries' rows, turned eight channels at a time.
    fn close(&self, share: &Share, queries: Range<usize>, line: &mut QueryLine, out: &Shared<'_>) {
        let width = self.width();
        let by = Line(line.total.0.map(|total| 1.0 / total));
        scale(self.level, &mut line.gathered, &by);
        let mut turned = [Left::ZERO; COLUMNS];
        for (block, channels) in line.gathered.as_chunks::<BLOCK>().0.iter().enumerate() {
            turn(self.level, &channels.each_ref().map(|line| line.0.as_slice()), 0, &mut turned);
            let first = block * BLOCK;
            let some = BLOCK.min(width - first);
            for (query, numbers) in queries.clone().zip(&turned) {
                let start = (share.sample * self.queried + query) * self.channels + share.head * width + first;
                #[expect(unsafe_code, reason = "threads write one result")]
                // SAFETY: a (sample, query, head) belongs to one share, and each of its channels is written once.
                let row = unsafe { out.part(start..start + some) };
                // Of a fixed length, it is one store.
                match row.first_chunk_mut::<BLOCK>() {
                    Some(row) => _ = row.write_copy_of_slice(&numbers.0),
                    None => _ = row.write_copy_of_slice(&numbers.0[..some]),
                }
            }
        }
    }
}

impl QueryLine {
    const EMPTY: Self = Self { packed: Vec::new(), largest: Line::ZERO, total: Line::ZERO, gathered: Vec::new() };
}

/// Turns scores into exponentials; says what corrects what was gathered, for a new largest score.
struct Softmax<'a> {
    scores: &'a mut [Line],
    largest: &'a mut Line,
    total: &'a mut Line,
}

impl Loops for Softmax<'_> {
    type Output = Line;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Line {
        let Self { scores, largest, total } = self;
        let mut new = largest.0;
        for line in &*scores {
            for (most, score) in new.iter_mut().zip(&line.0) {
                // A NaN is carried along by the exponential below.
                *most = if *score > *most { *score } else { *most };
            }
        }
        let mut sums = [0.0; COLUMNS];
        for line in scores {
            for ((score, most), sum) in line.0.iter_mut().zip(&new).zip(&mut sums) {
                *score = exp_down::<FUSED>(*score - *most);
                *sum += *score;
            }
        }
        let mut correction = [0.0; COLUMNS];
        for column in 0..COLUMNS {
            correction[column] = exp_down::<FUSED>(largest.0[column] - new[column]);
            total.0[column] = total.0[column] * correction[column] + sums[column];
        }
        largest.0 = new;
        Line(correction)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    /// (batch, queries, keys, width, heads)
    const SHAPES: [(usize, usize, usize, usize, usize); 6] = [
        (1, 1, 1, 1, 1),
        (2, 77, 77, 12, 3),
        (1, 600, 300, 40, 2),
        (2, 33, 257, 5, 1),
        (1, 64, 77, 160, 2),
        (1, 9, 600, 72, 1),
    ];

    #[test]
    fn every_level_agrees_with_plain_arithmetic() {
        for (batch, queried, keyed, width, heads) in SHAPES {
            let channels = width * heads;
            let [q, k, v] = tensors(batch, queried, keyed, channels);
            let open = mask(queried, keyed);
            for mask in [None, Some(&open[..])] {
                let expected = reference((&q, &k, &v), mask, (queried, keyed, width, heads));
                for level in Level::all() {
                    let attend = Attend {
                        level: *level,
                        queries: &q,
                        keys: &k,
                        values: &v,
                        mask,
                        queried,
                        keyed,
                        channels,
                        heads,
                    };
                    let got = attend.compute(batch);
                    assert_close(&format!("{level:?} {queried}x{keyed}x{width}"), &got, &expected, 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_sample_has_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let (queried, keyed, heads, channels) = (600, 300, 2, 80);
        let [q, k, v] = tensors(4, queried, keyed, channels);
        for level in Level::all() {
            let attend = |batch: usize, threads: usize| {
                let (queries, keys, values) = (&q[..], &k[..], &v[..]);
                let attend =
                    Attend { level: *level, queries, keys, values, mask: None, queried, keyed, channels, heads };
                in_pool(threads, || bits(&attend.compute(batch)))
            };
            let all = attend(4, 1);
            for (batch, threads) in [(1, 1), (1, 2), (2, 2), (3, 1), (4, 2)] {
                assert!(attend(batch, threads) == all[..batch * queried * channels], "{batch} on {threads}");
            }
        }
    }

    #[test]
    fn the_way_of_other_devices_agrees() {
        let (queried, keyed, heads, channels) = (50, 77, 3, 36);
        let [q, k, v] = tensors(2, queried, keyed, channels);
        let q = data::tensor(q, (2, queried, channels)).unwrap();
        let [k, v] = [k, v].map(|numbers| data::tensor(numbers, (2, keyed, channels)).unwrap());
        let open = data::tensor(mask(queried, keyed), (queried, keyed)).unwrap();
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let ours = flat(attention([&q, &k, &v], heads, Some(&open), Precision::F32).unwrap());
        assert_close("plain", &ours, &flat(plain([&q, &k, &v], heads, Some(&open), Precision::F32).unwrap()), 1e-5);
        assert!(attention([&q, &k, &v], 5, None, Precision::F32).is_err(), "36 channels are not five heads");
        assert!(
            attention([&q, &k, &v], 3, Some(&open.t().unwrap()), Precision::F32).is_err(),
            "a mask the wrong way round"
        );
        assert!(
            attention([&q, &k, &v.narrow(1, 0, 9).unwrap()], 3, None, Precision::F32).is_err(),
            "fewer values than keys"
        );
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let [mut q, k, v] = tensors(1, 3, 40, 8);
        q[8] = f32::NAN;
        let attend = Attend {
            level: Level::best(),
            queries: &q,
            keys: &k,
            values: &v,
            mask: None,
            queried: 3,
            keyed: 40,
            channels: 8,
            heads: 1,
        };
        let got = attend.compute(1);
        let wrong: Vec<bool> = got.chunks(8).map(|row| row.iter().all(|number| number.is_nan())).collect();
        assert_eq!(wrong, [false, true, false]);
    }

    pub(in super::super) fn tensors(batch: usize, queried: usize, keyed: usize, channels: usize) -> [Vec<f32>; 3] {
        // Scores of a few tens, so that the largest changes from block to block and most weights are nearly 0.
        let q = numbers(batch * queried * channels, 1).into_iter().map(|number| number * 8.0).collect();
        [q, numbers(batch * keyed * channels, 2), numbers(batch * keyed * channels, 3)]
    }

    /// Each query sees the keys up to its own place.
    pub(in super::super) fn mask(queried: usize, keyed: usize) -> Vec<f32> {
        let pairs = (0..queried).flat_map(|query| (0..keyed).map(move |key| (query, key)));
        pairs.map(|(query, key)| if key > query { f32::NEG_INFINITY } else { 0.0 }).collect()
    }

    pub(in super::super) fn reference(
        (q, k, v): (&[f32], &[f32], &[f32]),
        mask: Option<&[f32]>,
        (queried, keyed, width, heads): (usize, usize, usize, usize),
    ) -> Vec<f32> {
        let channels = width * heads;
        let mut out = vec![0.0; q.len()];
        for (index, number) in out.iter_mut().enumerate() {
            let (row, channel) = (index / channels, index % channels);
            let (sample, query, head) = (row / queried, row % queried, channel / width);
            let at = |tensor: &[f32], row: usize, i: usize| f64::from(tensor[row * channels + head * width + i]);
            let scores: Vec<f64> = (0..keyed)
                .map(|key| {
                    let products = (0..width).map(|i| at(q, row, i) * at(k, sample * keyed + key, i));
                    let score = products.sum::<f64>() / (width as f64).sqrt();
                    score + mask.map_or(0.0, |mask| f64::from(mask[query * keyed + key]))
                })
                .collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let weighted = weights
                .iter()
                .enumerate()
                .map(|(key, weight)| weight * f64::from(v[(sample * keyed + key) * channels + channel]));
            *number = (weighted.sum::<f64>() / weights.iter().sum::<f64>()) as f32;
        }
        out
    }
}
