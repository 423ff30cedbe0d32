//! 3x3 convolutions by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015): a square of two by two output pixels takes 16 multiplications of a channel instead of 36.
//!
//! The picture is cut into squares of 4x4 pixels that overlap by two, one for each output square, and each square and
//! each kernel is turned into 16 numbers by additions. For each of the 16 there is a matrix product over the channels, in
//! the tiles all products are made of; of its 16 sums an output square is made by additions. The larger F(4x4, 3x3)
//! would save more, and multiplies rounding errors by ten; this one keeps them where they are.
//!
//! Kernels are turned as they are needed and not kept, so weights stay in memory once. Channels are summed in blocks whose
//! size depends on their number alone, and squares only share the work: a sample's bits depend on nothing else.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::{IntoParallelIterator as _, ParallelIterator as _};

use super::conv::Plan;
use super::gemm::{Bias, grown, pieces};
use super::level::{self, Level, Loops};
use super::pack::{Matrix, Order};
use super::precision::Precision;
use super::shared::{Fresh, Shared};
use super::tile::{COLUMNS, Left, Line, ROWS, Tile, add_products};

/// Numbers a square and a kernel are turned into.
const PLACES: usize = 16;
/// Side of a kernel, of a square of input and of one of output.
const KERNEL: usize = 3;
const INPUT: usize = 4;
const OUTPUT: usize = 2;
/// Longest block of channels. With [`PANELS_MAX`] it makes half a MiB of turned squares, which stay in a core's
/// second-level cache.
const CHANNELS_MAX: usize = 64;
/// Most panels of 32 squares turned at a time: each turned kernel is used for so many.
const PANELS_MAX: usize = 4;
/// Most rows of tiles between whose blocks of channels sums are kept: 2.5 MiB of them.
const TILES_MAX: usize = 40;
/// With fewer output squares a sample, or fewer channels on either side, the additions cost more than they save.
const SQUARES_MIN: usize = 16;
const SIDE_MIN: usize = 16;
/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 20;

/// Whether a convolution is done this way: it depends on the sizes of a sample, never on how many there are. In bf16 the
/// turned numbers would be rounded instead of the factors, and the plain way is fast.
pub(super) fn suits(plan: &Plan, precision: Precision) -> bool {
    let Plan { kernel_height, kernel_width, stride, channels, out_channels, .. } = *plan;
    (kernel_height, kernel_width, stride) == (KERNEL, KERNEL, 1)
        && precision != Precision::Bf16
        && channels.min(out_channels) >= SIDE_MIN
        && squares(plan) >= SQUARES_MIN
}

/// Output squares of one sample; those at the right and lower edges may be half outside.
fn squares(plan: &Plan) -> usize {
    plan.out_height.div_ceil(OUTPUT) * plan.out_width.div_ceil(OUTPUT)
}

/// One convolution.
pub(super) struct Winograd<'a> {
    pub(super) level: Level,
    pub(super) plan: Plan,
    pub(super) input: &'a [f32],
    pub(super) kernel: &'a [f32],
    /// As in [`Product`](super::gemm::Product), and never one for each column.
    pub(super) bias: Bias<'a>,
    pub(super) add: Option<&'a [f32]>,
}

/// Rows of tiles and panels of squares for one thread.
#[derive(Clone, Debug)]
struct Share {
    tiles: Range<usize>,
    panels: Range<usize>,
}

/// Neighbouring squares of one row of one sample.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first one's place in its panel.
    place: usize,
    sample: usize,
    /// Row and column of the first one, in squares.
    row: usize,
    column: usize,
    len: usize,
}

/// Turned factors and sums, kept by each thread for the next convolution.
#[derive(Default)]
struct Scratch {
    /// Kernels of one row of tiles as they are: channel, then place in the kernel.
    kernels: Vec<Left>,
    /// Turned kernels: place, channel.
    left: Vec<Left>,
    /// Turned squares: panel, place, channel.
    right: Vec<Line>,
    /// Row of tiles, panel, place.
    sums: Vec<Tile>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Winograd<'_> {
    /// The convolution as a new vector: (batch, out channels, height, width).
    pub(super) fn compute(&self) -> Vec<f32> {
        let Plan { batch, out_channels, out_height, out_width, .. } = self.plan;
        let len = batch * out_channels * out_height * out_width;
        if len == 0 {
            return Vec::new();
        }
        if let Some(add) = self.add {
            assert_eq!(add.len(), len, "what is added has the result's size");
        }
        let mut out = Fresh::new(len);
        let lines = Shared::new(out.numbers());
        let shares = self.shares();
        match &shares[..] {
            [share] => self.run(share, &lines),
            _ => shares.into_par_iter().for_each(|share| self.run(&share, &lines)),
        }
        #[expect(unsafe_code, reason = "see `Fresh`")]
        // SAFETY: the shares cover all squares of all channels, and `put` writes every pixel of them.
        unsafe {
            out.finish(len)
        }
    }

    /// Disjoint shares that cover the result. How many there are changes no number.
    fn shares(&self) -> Vec<Share> {
        let Plan { batch, channels, out_channels, .. } = self.plan;
        let (tiles, panels) = (out_channels.div_ceil(ROWS), (batch * squares(&self.plan)).div_ceil(COLUMNS));
        let work = PLACES * batch * squares(&self.plan) * channels * out_channels;
        let threads = if work < PARALLEL_FROM { 1 } else { rayon::current_num_threads() };
        let blocks = panels.div_ceil(PANELS_MAX);
        if threads == 1 {
            vec![Share { tiles: 0..tiles, panels: 0..panels }]
        } else if blocks >= threads {
            let blocks = blocks.next_multiple_of(threads);
            pieces(panels, blocks).map(|panels| Share { tiles: 0..tiles, panels }).collect()
        } else {
            pieces(tiles, threads).map(|tiles| Share { tiles, panels: 0..panels }).collect()
        }
    }

    fn run(&self, share: &Share, out: &Shared<'_>) {
        let mut scratch = SCRATCH.take();
        let Share { tiles, panels } = share;
        for some in pieces(panels.len(), panels.len().div_ceil(PANELS_MAX)) {
            let panels: Vec<Vec<Run>> = some.map(|panel| self.runs(panels.start + panel)).collect();
            for some in pieces(tiles.len(), tiles.len().div_ceil(TILES_MAX)) {
                self.multiply(tiles.start + some.start..tiles.start + some.end, &panels, (&mut scratch, out));
            }
        }
        SCRATCH.set(scratch);
    }

    /// The squares of a panel. They are counted one sample after the other, so that small samples share panels.
    fn runs(&self, panel: usize) -> Vec<Run> {
        let (of_sample, of_row) = (squares(&self.plan), self.plan.out_width.div_ceil(OUTPUT));
        let end = ((panel + 1) * COLUMNS).min(self.plan.batch * of_sample);
        let mut runs = Vec::new();
        let mut next = panel * COLUMNS;
        while next < end {
            let (sample, inside) = (next / of_sample, next % of_sample);
            let (row, column) = (inside / of_row, inside % of_row);
            let len = (of_row - column).min(end - next);
            runs.push(Run { place: next - panel * COLUMNS, sample, row, column, len });
            next += len;
        }
        runs
    }

    /// Some rows of tiles over some panels, from the squares to the pixels.
    fn multiply(&self, tiles: Range<usize>, panels: &[Vec<Run>], (scratch, out): (&mut Scratch, &Shared<'_>)) {
        let Scratch { kernels, left, right, sums } = scratch;
        let Plan { channels, out_channels, .. } = self.plan;
        let sums = grown(sums, tiles.len() * panels.len() * PLACES, [Line::ZERO; ROWS]);
        for channels in pieces(channels, channels.div_ceil(CHANNELS_MAX)) {
            let len = channels.len();
            let right = grown(right, panels.len() * PLACES * len, Line::ZERO);
            for (runs, out) in panels.iter().zip(right.chunks_exact_mut(PLACES * len)) {
                self.turn_squares(runs, &channels, out);
            }
            let (kernels, left) =
                (grown(kernels, KERNEL * KERNEL * len, Left::ZERO), grown(left, PLACES * len, Left::ZERO));
            for (tile, sums) in tiles.clone().zip(sums.chunks_exact_mut(panels.len() * PLACES)) {
                let rows = tile * ROWS..((tile + 1) * ROWS).min(out_channels);
                self.turn_kernels(rows.clone(), &channels, kernels, left);
                let turned = right.chunks_exact(PLACES * len).zip(sums.chunks_exact_mut(PLACES));
                for ((right, sums), runs) in turned.zip(panels) {
                    for ((left, right), sums) in left.chunks_exact(len).zip(right.chunks_exact(len)).zip(&mut *sums) {
                        if channels.start == 0 {
                            *sums = [Line::ZERO; ROWS];
                        }
                        add_products(self.level, left, right, sums);
                    }
                    if channels.end == self.plan.channels {
                        self.put(sums, rows.clone(), runs, out);
                    }
                }
            }
        }
    }

    fn turn_kernels(&self, rows: Range<usize>, channels: &Range<usize>, kernels: &mut [Left], out: &mut [Left]) {
        const PIXELS: usize = KERNEL * KERNEL;
        let matrix = Matrix { data: self.kernel, stride: self.plan.channels * PIXELS, order: Order::ByLine };
        matrix.pack(self.level, rows, channels.start * PIXELS..channels.end * PIXELS, kernels);
        level::run(self.level, TurnKernels { kernels, out });
    }

    fn turn_squares(&self, runs: &[Run], channels: &Range<usize>, out: &mut [Line]) {
        level::run(self.level, TurnSquares { plan: &self.plan, input: self.input, runs, channels, out });
    }

    /// Turns sums into pixels and writes them, with what is added.
    fn put(&self, sums: &[Tile], rows: Range<usize>, runs: &[Run], out: &Shared<'_>) {
        let Plan { out_channels, out_height, out_width, .. } = self.plan;
        let mut pixels = [[[0.0; OUTPUT * COLUMNS]; OUTPUT]; ROWS];
        level::run(self.level, TurnSums { sums, pixels: &mut pixels });
        for (row, pixels) in rows.zip(&pixels) {
            for run in runs {
                let bias = match self.bias {
                    Bias::None | Bias::Columns(_) => 0.0,
                    Bias::Rows(bias) => bias[row],
                    Bias::SampleRows(bias) => bias[run.sample * out_channels + row],
                };
                for (line, y) in pixels.iter().zip(run.row * OUTPUT..out_height) {
                    let x = run.column * OUTPUT..((run.column + run.len) * OUTPUT).min(out_width);
                    let start = ((run.sample * out_channels + row) * out_height + y) * out_width;
                    let (line, place) = (&line[run.place * OUTPUT..][..x.len()], start + x.start..start + x.end);
                    #[expect(unsafe_code, reason = "threads write one result")]
                    // SAFETY: a square of a channel is in one share, and is written once.
                    let to = unsafe { out.part(place.clone()) };
                    match self.add {
                        None => to.iter_mut().zip(line).for_each(|(to, pixel)| _ = to.write(pixel + bias)),
                        Some(add) => to.iter_mut().zip(line).zip(&add[place]).for_each(|((to, pixel), add)| {
                            to.write(pixel + bias + add);
                        }),
                    }
                }
            }
        }
    }
}

/// Kernels of eight rows, side by side, to G g G^T.
struct TurnKernels<'a> {
    kernels: &'a [Left],
    out: &'a mut [Left],
}

impl Loops for TurnKernels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { kernels, out } = self;
        let channels = out.len() / PLACES;
        for (channel, kernel) in kernels.as_chunks::<{ KERNEL * KERNEL }>().0.iter().enumerate() {
            let mut half = [[[0.0; ROWS]; KERNEL]; INPUT];
            for column in 0..KERNEL {
                let turned =
                    turn_three([&kernel[column].0, &kernel[KERNEL + column].0, &kernel[2 * KERNEL + column].0]);
                for (half, turned) in half.iter_mut().zip(turned) {
                    half[column] = turned;
                }
            }
            for (row, [a, b, c]) in half.iter().enumerate() {
                for (column, turned) in turn_three([a, b, c]).into_iter().enumerate() {
                    out[(row * INPUT + column) * channels + channel].0 = turned;
                }
            }
        }
    }
}

/// Three numbers of a kernel to four: a, (a + b + c) / 2, (a - b + c) / 2, c.
#[inline(always)]
fn turn_three([a, b, c]: [&[f32; ROWS]; KERNEL]) -> [[f32; ROWS]; INPUT] {
    let (mut plus, mut minus) = ([0.0; ROWS], [0.0; ROWS]);
    for row in 0..ROWS {
        let (ends, middle) = (0.5 * (a[row] + c[row]), 0.5 * b[row]);
        (plus[row], minus[row]) = (ends + middle, ends - middle);
    }
    [*a, plus, minus, *c]
}

/// Squares of a panel to B^T d B.
struct TurnSquares<'a> {
    plan: &'a Plan,
    input: &'a [f32],
    runs: &'a [Run],
    channels: &'a Range<usize>,
    /// Place, channel.
    out: &'a mut [Line],
}

/// Pixels that a run of up to 32 squares reaches over in a row.
const REACH: usize = OUTPUT * COLUMNS + INPUT - OUTPUT;

impl Loops for TurnSquares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { plan: Plan { channels: all, height, width, padding, .. }, input, runs, channels, out } = self;
        if runs.iter().map(|run| run.len).sum::<usize>() < COLUMNS {
            out.fill(Line::ZERO);
        }
        for run in runs {
            let reach = OUTPUT * run.len + INPUT - OUTPUT;
            // Where the squares' first column is, counted with the zeros around the picture.
            let first = run.column * OUTPUT;
            let inside = padding.saturating_sub(first).min(reach)..(width + padding).saturating_sub(first).min(reach);
            for (index, channel) in channels.clone().enumerate() {
                let picture = &input[(run.sample * all + channel) * height * width..][..height * width];
                let mut rows = [[0.0; REACH]; INPUT];
                for (offset, row) in rows.iter_mut().enumerate() {
                    let y = (run.row * OUTPUT + offset).checked_sub(*padding).filter(|y| y < height);
                    if let (Some(y), false) = (y, inside.is_empty()) {
                        let from = y * width + first + inside.start - padding;
                        row[inside.clone()].copy_from_slice(&picture[from..from + inside.len()]);
                    }
                }
                let turned = turn_four_lines(&rows);
                for (row, line) in turned.iter().enumerate() {
                    let mut place = |column: usize| (row * INPUT + column) * channels.len() + index;
                    let places: [usize; INPUT] = std::array::from_fn(&mut place);
                    turn_pairs(line, run, places, out);
                }
            }
        }
    }
}

/// B^T d: a - c, b + c, c - b, b - d of four rows.
#[inline(always)]
fn turn_four_lines([a, b, c, d]: &[[f32; REACH]; INPUT]) -> [[f32; REACH]; INPUT] {
    let mut turned = [[0.0; REACH]; INPUT];
    for x in 0..REACH {
        turned[0][x] = a[x] - c[x];
        turned[1][x] = b[x] + c[x];
        turned[2][x] = c[x] - b[x];
        turned[3][x] = b[x] - d[x];
    }
    turned
}

/// The same along a row, for the squares of a run; in stretches of fixed length, which make vector code.
#[inline(always)]
fn turn_pairs(line: &[f32; REACH], run: &Run, places: [usize; INPUT], out: &mut [Line]) {
    let mut done = 0;
    while run.len - done >= 8 {
        turn_stretch::<8>(line, done, run, places, out);
        done += 8;
    }
    if run.len - done >= 4 {
        turn_stretch::<4>(line, done, run, places, out);
        done += 4;
    }
    while done < run.len {
        turn_stretch::<1>(line, done, run, places, out);
        done += 1;
    }
}

#[inline(always)]
fn turn_stretch<const N: usize>(line: &[f32; REACH], done: usize, run: &Run, places: [usize; INPUT], out: &mut [Line]) {
    let line = &line[OUTPUT * done..][..OUTPUT * N + INPUT - OUTPUT];
    let mut turned = [[0.0; N]; INPUT];
    for square in 0..N {
        let [a, b, c, d] = [line[2 * square], line[2 * square + 1], line[2 * square + 2], line[2 * square + 3]];
        turned[0][square] = a - c;
        turned[1][square] = b + c;
        turned[2][square] = c - b;
        turned[3][square] = b - d;
    }
    for (place, turned) in places.into_iter().zip(&turned) {
        out[place].0[run.place + done..][..N].copy_from_slice(turned);
    }
}

/// Sums of eight rows of a panel to A^T m A: two rows of pixels, squares side by side.
struct TurnSums<'a> {
    sums: &'a [Tile],
    pixels: &'a mut [[[f32; OUTPUT * COLUMNS]; OUTPUT]; ROWS],
}

impl Loops for TurnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { sums, pixels } = self;
        for (row, pixels) in pixels.iter_mut().enumerate() {
            let sums: [&[f32; COLUMNS]; PLACES] = std::array::from_fn(|place| &sums[place][row].0);
            let mut half = [[[0.0; COLUMNS]; INPUT]; OUTPUT];
            for column in 0..INPUT {
                let [a, b, c, d] = std::array::from_fn(|row| sums[row * INPUT + column]);
                for square in 0..COLUMNS {
                    half[0][column][square] = a[square] + b[square] + c[square];
                    half[1][column][square] = b[square] - c[square] - d[square];
                }
            }
            for (pixels, [a, b, c, d]) in pixels.iter_mut().zip(&half) {
                for square in 0..COLUMNS {
                    pixels[2 * square] = a[square] + b[square] + c[square];
                    pixels[2 * square + 1] = b[square] - c[square] - d[square];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    fn plan(
        batch: usize,
        channels: usize,
        (height, width): (usize, usize),
        out_channels: usize,
        padding: usize,
    ) -> Plan {
        let (out_height, out_width) = (height + 2 * padding + 1 - KERNEL, width + 2 * padding + 1 - KERNEL);
        Plan {
            batch,
            channels,
            height,
            width,
            out_channels,
            kernel_height: KERNEL,
            kernel_width: KERNEL,
            out_height,
            out_width,
            stride: 1,
            padding,
        }
    }

    #[test]
    fn every_shape_and_level_agrees_with_the_plain_convolution() {
        for (batch, channels, size, out, padding) in [
            (1, 1, (1, 1), 1, 1),
            (1, 3, (2, 2), 5, 1),
            (2, 5, (3, 7), 9, 1),
            (3, 70, (8, 8), 17, 1),
            (1, 16, (6, 130), 8, 1),
            (2, 2, (9, 5), 3, 0),
            (1, 2, (4, 3), 3, 2),
            (2, 130, (10, 24), 330, 1),
        ] {
            let plan = plan(batch, channels, size, out, padding);
            let (height, width) = size;
            let input = numbers(batch * channels * height * width, 1);
            let kernel = numbers(out * channels * KERNEL * KERNEL, 2);
            let bias = numbers(batch * out, 3);
            let add = numbers(batch * out * plan.out_height * plan.out_width, 4);
            let tensor = |numbers: &[f32], shape: &[usize]| Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap();
            let plain = tensor(&input, &[batch, channels, height, width])
                .conv2d(&tensor(&kernel, &[out, channels, KERNEL, KERNEL]), padding, 1, 1, 1)
                .unwrap();
            let plain = plain.broadcast_add(&tensor(&bias, &[batch, out, 1, 1])).unwrap();
            let plain = (&plain + tensor(&add, plain.dims())).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for level in Level::all() {
                let (level, input, kernel) = (*level, &input[..], &kernel[..]);
                let ours = Winograd { level, plan, input, kernel, bias: Bias::SampleRows(&bias), add: Some(&add) };
                assert_close(&format!("{level:?} {plan:?}"), &ours.compute(), &plain, 1e-5);
            }
        }
    }

    #[test]
    fn a_sample_has_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let (channels, out) = (130, 350);
        let kernel = numbers(out * channels * KERNEL * KERNEL, 2);
        for (level, size) in Level::all().iter().flat_map(|l| [(*l, (8, 8)), (*l, (10, 14)), (*l, (48, 48))]) {
            let input = numbers(4 * channels * size.0 * size.1, 1);
            let convolve = |batch: usize, threads: usize| {
                let (plan, bias, add) = (plan(batch, channels, size, out, 1), Bias::None, None);
                let ours = Winograd { level, plan, input: &input, kernel: &kernel, bias, add };
                in_pool(threads, || bits(&ours.compute()))
            };
            let all = convolve(4, 1);
            for (batch, threads) in [(1, 1), (1, 2), (2, 2), (3, 1), (4, 2)] {
                let some = convolve(batch, threads);
                assert!(some == all[..some.len()], "{level:?} {size:?}: {batch} on {threads}");
            }
        }
    }

    #[test]
    fn it_is_as_exact_as_the_plain_way() {
        let (channels, out, size) = (320, 16, (8, 8));
        let (input, kernel) = (numbers(channels * 64, 1), numbers(out * channels * KERNEL * KERNEL, 2));
        let plan = plan(1, channels, size, out, 1);
        let exact = |out: usize, y: usize, x: usize| -> f64 {
            let near = (0..channels * KERNEL * KERNEL).map(|at| (at / 9, at % 9 / 3, at % 3));
            near.filter(|(_, ky, kx)| (1..=8).contains(&(y + ky)) && (1..=8).contains(&(x + kx)))
                .map(|(channel, ky, kx)| {
                    let pixel = input[(channel * 8 + y + ky - 1) * 8 + x + kx - 1];
                    f64::from(pixel) * f64::from(kernel[(out * channels + channel) * 9 + ky * 3 + kx])
                })
                .sum()
        };
        for level in Level::all() {
            let ours = Winograd { level: *level, plan, input: &input, kernel: &kernel, bias: Bias::None, add: None };
            for (at, got) in ours.compute().into_iter().enumerate() {
                let expected = exact(at / 64, at / 8 % 8, at % 8);
                // Sums of 2880 products are about 54, and up to 200; fp32 rounds each of the additions to 4e-6.
                assert!((f64::from(got) - expected).abs() < 5e-4, "{level:?}: {got} for {expected}");
            }
        }
    }
}
