//! Matrix products in blocks that stay in a core's caches, with what follows them (bias, a tensor to add) done while the
//! numbers are at hand.
//!
//! Blocks of the inner index depend on its length alone, and rows and columns only share the work: so a number's bits
//! depend on its own row and column and on nothing else.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::{IntoParallelIterator as _, ParallelIterator as _};

use super::amx::{self, RowPairs, TILES};
use super::level::Level;
use super::pack::{Matrix, Order};
use super::pairs::{LeftPairs, LinePairs, Paired, add_pair_products, pair};
use super::precision::{Pairing, Precision};
use super::shared::{Fresh, Shared};
use super::tile::{COLUMNS, Left, Line, ROWS, Tile, add_products};

/// Longest block of the inner index. With [`PANELS_MAX`] it makes a packed right factor of 1 MiB, a core's
/// second-level cache.
const INNER_MAX: usize = 512;
/// Most panels of right columns packed at a time; in bf16, whose panels take half the room, twice as many.
const PANELS_MAX: usize = 16;
/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 20;

/// Right columns, which may be a matrix or the windows of a convolution.
pub(super) trait Columns: Sync {
    /// Packs up to [`COLUMNS`] columns for each inner index; places that are left become zeros. The samples' columns are
    /// counted one sample after the other, so that small samples share what is packed and multiplied at a time.
    fn pack(&self, level: Level, columns: Range<usize>, inner: Range<usize>, out: &mut [Line]);
}

/// A matrix for each sample, `sample_stride` numbers apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples<'a> {
    pub(super) matrix: Matrix<'a>,
    pub(super) sample_stride: usize,
    /// Columns of one sample.
    pub(super) columns: usize,
}

impl Columns for Samples<'_> {
    fn pack(&self, level: Level, columns: Range<usize>, inner: Range<usize>, out: &mut [Line]) {
        let mut parts = parts(columns.clone(), self.columns);
        if let (Some(Part { sample, inside, .. }), None) = (parts.next(), parts.next()) {
            let data = &self.matrix.data[sample * self.sample_stride..];
            Matrix { data, ..self.matrix }.pack(level, inside, inner, out);
            return;
        }
        let Matrix { data, stride, order } = self.matrix;
        let (by_line, by_index) = if order == Order::ByLine { (stride, 1) } else { (1, stride) };
        let starts = |column: usize| column / self.columns * self.sample_stride + column % self.columns * by_line;
        for (place, start) in columns.clone().map(starts).enumerate() {
            for (index, line) in inner.clone().zip(&mut *out) {
                line.0[place] = data[start + index * by_index];
            }
        }
        for line in out {
            line.0[columns.len()..].fill(0.0);
        }
    }
}

/// Columns of one panel that are of one sample.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) sample: usize,
    /// Their numbers within the sample.
    pub(super) inside: Range<usize>,
    /// The first one's place in the panel.
    pub(super) place: usize,
}

/// Splits columns, counted one sample after the other, by their samples.
pub(super) fn parts(columns: Range<usize>, of_sample: usize) -> impl Iterator<Item = Part> {
    let mut next = columns.start;
    std::iter::from_fn(move || {
        let (sample, first) = (next / of_sample.max(1), next % of_sample.max(1));
        let len = (of_sample - first).min(columns.end.checked_sub(next).filter(|left| *left > 0)?);
        let place = next - columns.start;
        next += len;
        Some(Part { sample, inside: first..first + len, place })
    })
}

/// What is added to the sums.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bias<'a> {
    /// Nothing.
    None,
    /// A number for each row.
    Rows(&'a [f32]),
    /// A number for each row of each sample.
    SampleRows(&'a [f32]),
    /// A number for each column.
    Columns(&'a [f32]),
}

/// A product of `rows` left rows with the columns of each sample. The result of a sample is a row-major matrix of its
/// own; the samples' lie one behind the other.
pub(super) struct Product<'a, C> {
    pub(super) level: Level,
    pub(super) precision: Precision,
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) samples: usize,
    /// Columns of one sample.
    pub(super) columns: usize,
    pub(super) left: Matrix<'a>,
    pub(super) right: &'a C,
    pub(super) bias: Bias<'a>,
    /// Added to the result, in its layout.
    pub(super) add: Option<&'a [f32]>,
}

/// Rows and panels of columns for one thread.
#[derive(Clone, Debug)]
struct Share {
    /// In tiles.
    rows: Range<usize>,
    panels: Range<usize>,
}

/// A part of the inner index.
#[derive(Clone, Debug)]
struct Block {
    inner: Range<usize>,
    first: bool,
    last: bool,
}

/// Packed factors, kept by each thread for the next product.
#[derive(Default)]
struct Scratch {
    left: Vec<Left>,
    right: Vec<Line>,
    /// The same in bf16.
    left_pairs: Vec<LeftPairs>,
    right_pairs: Vec<LinePairs>,
    left_tiles: Vec<RowPairs>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl<C: Columns> Product<'_, C> {
    /// The product as a new vector: (samples, rows, columns).
    pub(super) fn compute(&self) -> Vec<f32> {
        let len = self.samples * self.rows * self.columns;
        let mut out = Fresh::new(len);
        if len == 0 {
            return Vec::new();
        }
        if let Some(add) = self.add {
            assert_eq!(add.len(), len, "what is added has the result's size");
        }
        let lines = Shared::new(out.numbers());
        let shares = self.shares();
        match &shares[..] {
            [share] => self.run(share.clone(), &lines),
            _ => shares.into_par_iter().for_each(|share| self.run(share, &lines)),
        }
        #[expect(unsafe_code, reason = "see `Fresh`")]
        // SAFETY: the shares cover the result, and the first block of each writes every number of its tiles.
        unsafe {
            out.finish(len)
        }
    }

    /// Disjoint shares that cover the result. How many there are changes no number.
    fn shares(&self) -> Vec<Share> {
        let (tiles, panels) = (self.rows.div_ceil(ROWS), (self.samples * self.columns).div_ceil(COLUMNS));
        let work = self.samples * self.rows * self.columns * self.inner.max(1);
        let threads = if work < PARALLEL_FROM { 1 } else { rayon::current_num_threads() };
        let blocks = panels.div_ceil(self.panels_max());
        let whole = |rows| Share { rows, panels: 0..panels };
        if threads == 1 {
            vec![whole(0..tiles)]
        } else if blocks >= threads {
            let blocks = blocks.next_multiple_of(threads);
            pieces(panels, blocks).map(|panels| Share { rows: 0..tiles, panels }).collect()
        } else {
            pieces(tiles, threads).map(whole).collect()
        }
    }

    fn run(&self, share: Share, out: &Shared<'_>) {
        let mut scratch = SCRATCH.take();
        let blocks = self.inner.div_ceil(INNER_MAX).max(1);
        for panels in pieces(share.panels.len(), share.panels.len().div_ceil(self.panels_max())) {
            let panels = share.panels.start + panels.start..share.panels.start + panels.end;
            for (index, inner) in pieces(self.inner, blocks).enumerate() {
                let block = Block { first: index == 0, last: inner.end == self.inner, inner };
                self.pack_right(panels.clone(), &block, &mut scratch);
                let step = if self.in_tiles() { TILES } else { 1 };
                for first in share.rows.clone().step_by(step) {
                    let to = (&mut scratch, out);
                    if self.in_tiles() {
                        let rows = first..(first + step).min(share.rows.end);
                        self.multiply_tiles(rows, panels.clone(), &block, to);
                    } else {
                        self.multiply(first, panels.clone(), &block, to);
                    }
                }
            }
        }
        SCRATCH.set(scratch);
    }

    fn pack_right(&self, panels: Range<usize>, block: &Block, scratch: &mut Scratch) {
        let Scratch { right, right_pairs, .. } = scratch;
        let (len, pairs, room) = (block.inner.len(), block.inner.len().div_ceil(2), self.room(block));
        match self.precision {
            Precision::F32 | Precision::F16 => {
                let packed = grown(right, panels.len() * len, Line::ZERO);
                for (panel, out) in panels.zip(packed.chunks_exact_mut(len.max(1))) {
                    self.right.pack(self.level, self.panel(panel), block.inner.clone(), out);
                }
            }
            Precision::Bf16 => {
                // One panel at a time is enough in fp32, and stays in the first-level cache.
                let packed = grown(right, len, Line::ZERO);
                let paired = grown(right_pairs, panels.len() * room, Line::NOTHING);
                for (panel, out) in panels.zip(paired.chunks_exact_mut(room.max(1))) {
                    self.right.pack(self.level, self.panel(panel), block.inner.clone(), packed);
                    let (out, rest) = out.split_at_mut(pairs);
                    pair(self.level, packed, out);
                    rest.fill(Line::NOTHING);
                }
            }
        }
    }

    fn panels_max(&self) -> usize {
        match self.precision {
            Precision::F32 | Precision::F16 => PANELS_MAX,
            Precision::Bf16 => 2 * PANELS_MAX,
        }
    }

    /// A row of tiles, over the panels packed.
    fn multiply(&self, row: usize, panels: Range<usize>, block: &Block, (scratch, out): (&mut Scratch, &Shared<'_>)) {
        let Scratch { left, right, left_pairs, right_pairs, .. } = scratch;
        let (len, pairs) = (block.inner.len(), block.inner.len().div_ceil(2));
        let left = grown(left, len, Left::ZERO);
        let rows = row * ROWS..((row + 1) * ROWS).min(self.rows);
        self.left.pack(self.level, rows.clone(), block.inner.clone(), left);
        let left_pairs = grown(left_pairs, pairs, Left::NOTHING);
        if self.precision == Precision::Bf16 {
            pair(self.level, left, left_pairs);
        }
        for (index, panel) in panels.enumerate() {
            let mut tile = [Line::ZERO; ROWS];
            match self.precision {
                Precision::F32 | Precision::F16 => {
                    add_products(self.level, left, &right[index * len..][..len], &mut tile);
                }
                Precision::Bf16 => {
                    let right = &right_pairs[index * pairs..][..pairs];
                    add_pair_products(left_pairs, right, &mut tile);
                }
            }
            self.put(&tile, (rows.clone(), self.panel(panel)), block, out);
        }
    }

    /// Several rows of tiles of bf16 at a time, over the panels packed.
    fn multiply_tiles(
        &self,
        tiles: Range<usize>,
        panels: Range<usize>,
        block: &Block,
        (scratch, out): (&mut Scratch, &Shared<'_>),
    ) {
        let Scratch { left, left_pairs, left_tiles, right_pairs, .. } = scratch;
        let (len, pairs, room) = (block.inner.len(), block.inner.len().div_ceil(2), self.room(block));
        let (left, left_pairs) = (grown(left, len, Left::ZERO), grown(left_pairs, pairs, Left::NOTHING));
        let left_tiles = grown(left_tiles, amx::blocks(pairs), RowPairs::NOTHING);
        let rows = |tile: usize| tile * ROWS..((tile + 1) * ROWS).min(self.rows);
        for (index, tile) in tiles.clone().enumerate() {
            self.left.pack(self.level, rows(tile), block.inner.clone(), left);
            pair(self.level, left, left_pairs);
            amx::lay_out(index, left_pairs, left_tiles);
        }
        for (index, panel) in panels.enumerate() {
            // Tiles past the last have what was left there, and their sums are not looked at.
            let mut sums = [[Line::ZERO; ROWS]; TILES];
            amx::add_products(self.pairing(), left_tiles, &right_pairs[index * room..][..room], &mut sums);
            for (tile, sums) in tiles.clone().zip(&sums) {
                self.put(sums, (rows(tile), self.panel(panel)), block, out);
            }
        }
    }

    /// Whether bf16 is multiplied in whole tiles.
    fn in_tiles(&self) -> bool {
        self.precision == Precision::Bf16 && self.pairing().in_tiles()
    }

    /// Pairs that a panel has room for.
    fn room(&self, block: &Block) -> usize {
        let pairs = block.inner.len().div_ceil(2);
        if self.in_tiles() { amx::blocks(pairs) * amx::STEP } else { pairs }
    }

    /// Tests that ask for plain arithmetic get it in bf16 too.
    fn pairing(&self) -> Pairing {
        if self.level == Level::Portable { Pairing::Portable } else { Pairing::best() }
    }

    /// Writes or adds a tile to the result, and finishes the numbers after the last block.
    fn put(&self, tile: &Tile, (rows, columns): (Range<usize>, Range<usize>), block: &Block, out: &Shared<'_>) {
        for Part { sample, inside, place } in parts(columns, self.columns) {
            for (row, sums) in rows.clone().zip(tile) {
                let at = (sample * self.rows + row) * self.columns + inside.start;
                #[expect(unsafe_code, reason = "threads write one result")]
                // SAFETY: shares do not overlap and a row's panels lie side by side, so only this call holds this part.
                let line = unsafe { out.part(at..at + inside.len()) };
                let line = place_sums(line, &sums.0[place..place + inside.len()], block.first);
                if block.last {
                    self.finish(line, (sample, row, inside.start), at);
                }
            }
        }
    }

    fn finish(&self, line: &mut [f32], (sample, row, column): (usize, usize, usize), at: usize) {
        match self.bias {
            Bias::None => {}
            Bias::Rows(bias) => add_to_all(line, bias[row]),
            Bias::SampleRows(bias) => add_to_all(line, bias[sample * self.rows + row]),
            Bias::Columns(bias) => line.iter_mut().zip(&bias[column..]).for_each(|(number, bias)| *number += bias),
        }
        if let Some(add) = self.add {
            line.iter_mut().zip(&add[at..]).for_each(|(number, add)| *number += add);
        }
    }

    fn panel(&self, index: usize) -> Range<usize> {
        index * COLUMNS..((index + 1) * COLUMNS).min(self.samples * self.columns)
    }
}

/// Writes the first block's sums, or adds those of a later one.
fn place_sums<'a>(line: &'a mut [MaybeUninit<f32>], sums: &[f32], first: bool) -> &'a mut [f32] {
    // A whole line is by far the most frequent, and its fixed length makes straight vector code.
    let whole = <&[f32; COLUMNS]>::try_from(sums).ok();
    if first {
        return match whole {
            Some(sums) => line.write_copy_of_slice(sums),
            None => line.write_copy_of_slice(sums),
        };
    }
    #[expect(unsafe_code, reason = "the type does not say that an earlier block was here")]
    // SAFETY: the first block of this tile has written all of the line.
    let line = unsafe { line.assume_init_mut() };
    match (<&mut [f32; COLUMNS]>::try_from(&mut *line), whole) {
        (Ok(line), Some(sums)) => line.iter_mut().zip(sums).for_each(|(number, sum)| *number += sum),
        _ => line.iter_mut().zip(sums).for_each(|(number, sum)| *number += sum),
    }
    line
}

fn add_to_all(line: &mut [f32], added: f32) {
    for number in line {
        *number += added;
    }
}

/// The first `len` of a buffer that is made longer where it must be.
pub(super) fn grown<T: Copy>(buffer: &mut Vec<T>, len: usize, nothing: T) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, nothing);
    }
    &mut buffer[..len]
}

/// `0..count` in `parts` ranges of like size, the last ones shorter or left out.
pub(super) fn pieces(count: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let size = count.div_ceil(parts.max(1)).max(1);
    // An inner index of no length is still one block: it makes zeros.
    (0..count.max(1)).step_by(size).map(move |start| start..(start + size).min(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Order;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    #[test]
    fn every_shape_and_level_agrees_with_plain_loops() {
        for (rows, inner, columns, samples) in
            [(1, 1, 1, 1), (2, 40, 77, 3), (9, 513, 33, 1), (300, 96, 31, 2), (17, 1030, 300, 1), (3, 0, 4, 1)]
        {
            let (a, b) = (numbers(rows * inner, 1), numbers(samples * inner * columns, 2));
            let bias = numbers(columns, 3);
            let add = numbers(samples * rows * columns, 4);
            let mut expected = add.clone();
            for (index, number) in expected.iter_mut().enumerate() {
                let (sample, row, column) = (index / columns / rows, index / columns % rows, index % columns);
                let products = (0..inner)
                    .map(|k| f64::from(a[row * inner + k]) * f64::from(b[(sample * inner + k) * columns + column]));
                *number += products.sum::<f64>() as f32 + bias[column];
            }
            let precision = Precision::F32;
            for level in Level::all() {
                let right = Samples {
                    matrix: Matrix { data: &b, stride: columns, order: Order::ByInner },
                    sample_stride: inner * columns,
                    columns,
                };
                let left = Matrix { data: &a, stride: inner, order: Order::ByLine };
                let bias = Bias::Columns(&bias);
                let product = Product {
                    level: *level,
                    precision,
                    rows,
                    inner,
                    samples,
                    columns,
                    left,
                    right: &right,
                    bias,
                    add: Some(&add),
                };
                assert_close(&format!("{level:?}"), &product.compute(), &expected, 1e-5);
            }
        }
    }

    #[test]
    fn a_number_depends_on_its_row_and_column_alone() {
        let ways = Level::all().iter().flat_map(|l| [(*l, Precision::F32), (*l, Precision::Bf16)]);
        for (level, precision) in ways {
            let (inner, columns) = (700, 600);
            let (a, b) = (numbers(40 * inner, 1), numbers(inner * columns, 2));
            let product = |rows: usize, threads: usize| {
                let matrix = Matrix { data: &b, stride: columns, order: Order::ByInner };
                let right = Samples { matrix, sample_stride: 0, columns };
                let left = Matrix { data: &a, stride: inner, order: Order::ByLine };
                let (bias, add, samples) = (Bias::None, None, 1);
                let product =
                    Product { level, precision, rows, inner, samples, columns, left, right: &right, bias, add };
                in_pool(threads, || bits(&product.compute()))
            };
            let all = product(40, 1);
            for (rows, threads) in [(1, 1), (1, 2), (2, 1), (9, 2), (40, 2), (40, 3)] {
                assert!(product(rows, threads) == all[..rows * columns], "{rows} rows, {threads} threads");
            }
        }
    }

    #[test]
    fn pieces_cover_all_and_do_not_overlap() {
        for (count, parts) in [(10, 3), (1, 4), (7, 7), (8, 2), (5, 0)] {
            let all: Vec<usize> = pieces(count, parts).flatten().collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
