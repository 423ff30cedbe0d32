//! The innermost loop in bf16 on processors with AMX: 32 rows times 32 columns in four tile registers, 32 inner indices at
//! a time.
//!
//! The loop is a text of a few instructions, which the processor runs and which the tests run too, on a plain model of
//! the registers. It was written on a machine without AMX: the text, the packing and the sums are tested there, the
//! processor's own reading of it only where the processor has AMX, by the same test.

use super::pairs::{LeftPairs, LinePairs};
use super::precision::Pairing;
use super::tile::{COLUMNS, ROWS, Tile};

/// Inner indices, in pairs, that one instruction multiplies.
pub(super) const STEP: usize = 16;
/// Tiles of [`ROWS`] rows that are summed at a time.
pub(super) const TILES: usize = 4;
/// Rows of those.
const LANES: usize = TILES * ROWS;
/// Rows of a tile register.
const REGISTER_ROWS: usize = 16;

/// Pairs of left factors of 32 rows, row by row: 16 pairs of each row, then the next 16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct RowPairs([[u32; STEP]; LANES]);

impl RowPairs {
    pub(super) const NOTHING: Self = Self([[0; STEP]; LANES]);
}

/// Blocks of [`RowPairs`] that hold so many pairs.
pub(super) fn blocks(pairs: usize) -> usize {
    pairs.div_ceil(STEP)
}

/// Lays out one of the four tiles as the registers want it. Past the last pair there are zeros.
pub(super) fn lay_out(tile: usize, left: &[LeftPairs], out: &mut [RowPairs]) {
    for (block, left) in out.iter_mut().zip(left.chunks(STEP).chain(std::iter::repeat(&[][..]))) {
        for (row, pairs) in block.0[tile * ROWS..(tile + 1) * ROWS].iter_mut().enumerate() {
            for (index, pair) in pairs.iter_mut().enumerate() {
                *pair = left.get(index).map_or(0, |left| left.row(row));
            }
        }
    }
}

/// What `ldtilecfg` is given: eight registers of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut bytes = [0; 64];
    // Palette 1; bytes of a row from place 16 on, two bytes each; rows from place 48 on.
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = REGISTER_ROWS as u8;
        register += 1;
    }
    Config(bytes)
};

/// Bytes from a row of the sums, and of right factors, to the next.
const LINE_BYTES: usize = 4 * COLUMNS;
/// Bytes from a row of left factors to the next.
const LEFT_BYTES: usize = 4 * STEP;

/// The loop. `rdi` config; `rsi` left factors, of which the lower 16 rows are 1024 bytes on; `r8` bytes of a left row;
/// `rcx` right factors; `r9` bytes of their rows and of the sums'; `r10` sums; `r11` blocks of 16 pairs, at least one.
macro_rules! program {
    ($use:ident) => {
        $use!(
            "ldtilecfg [rdi]",
            "tileloadd tmm0, [r10 + r9*1]",
            "tileloadd tmm1, [r10 + r9*1 + 64]",
            "tileloadd tmm2, [r10 + r9*1 + 2048]",
            "tileloadd tmm3, [r10 + r9*1 + 2112]",
            "2:",
            "tileloadd tmm4, [rsi + r8*1]",
            "tileloadd tmm5, [rsi + r8*1 + 1024]",
            "tileloadd tmm6, [rcx + r9*1]",
            "tileloadd tmm7, [rcx + r9*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add rsi, 2048",
            "add rcx, 2048",
            "sub r11, 1",
            "jnz 2b",
            "tilestored [r10 + r9*1], tmm0",
            "tilestored [r10 + r9*1 + 64], tmm1",
            "tilestored [r10 + r9*1 + 2048], tmm2",
            "tilestored [r10 + r9*1 + 2112], tmm3",
            "tilerelease"
        )
    };
}

/// Adds, for each of 32 rows and each column, the products over the inner index to the sums. `right` is as long as whole
/// blocks are; what is past the last pair is zeros.
pub(super) fn add_products(pairing: Pairing, left: &[RowPairs], right: &[LinePairs], sums: &mut [Tile; TILES]) {
    assert_eq!(left.len() * STEP, right.len(), "both factors have the same inner indices");
    match pairing {
        #[cfg(target_arch = "x86_64")]
        Pairing::Amx => on_processor(left, right, sums),
        #[cfg(target_arch = "x86_64")]
        Pairing::Avx512 => plain(left, right, sums),
        Pairing::Portable => plain(left, right, sums),
    }
}

/// The same in plain arithmetic: even and odd indices are summed apart in each block, as the instruction does.
fn plain(left: &[RowPairs], right: &[LinePairs], sums: &mut [Tile; TILES]) {
    let halves = |pair: u32| (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
    for (left, right) in left.iter().zip(right.as_chunks::<STEP>().0) {
        for (pairs, sums) in left.0.iter().zip(sums.as_flattened_mut()) {
            let (mut even, mut odd) = ([0.0; COLUMNS], [0.0; COLUMNS]);
            for (pair, right) in pairs.iter().zip(right) {
                let (even_a, odd_a) = halves(*pair);
                for (column, pair) in right.pairs().iter().enumerate() {
                    let (even_b, odd_b) = halves(*pair);
                    even[column] += even_a * even_b;
                    odd[column] += odd_a * odd_b;
                }
            }
            for (sum, (even, odd)) in sums.0.iter_mut().zip(even.iter().zip(&odd)) {
                *sum += even + odd;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn on_processor(left: &[RowPairs], right: &[LinePairs], sums: &mut [Tile; TILES]) {
    assert!(has_amx(), "this processor has AMX, and the system lets this process use it");
    if left.is_empty() {
        return;
    }
    macro_rules! run {
        ($($line:literal),*) => {
            std::arch::asm!(
                $($line),*,
                in("rdi") &raw const CONFIG,
                inout("rsi") left.as_ptr() => _,
                in("r8") LEFT_BYTES,
                inout("rcx") right.as_ptr() => _,
                in("r9") LINE_BYTES,
                in("r10") sums.as_mut_ptr(),
                inout("r11") left.len() => _,
                options(nostack),
            )
        };
    }
    #[expect(unsafe_code, reason = "tile instructions have no other way in on stable Rust")]
    // SAFETY: the processor has them and the system keeps their registers. Loads and stores stay inside the factors, of
    // which there are `r11` whole blocks, and inside the 32 lines of sums. No code of the compiler's uses tile registers,
    // and they are released.
    unsafe {
        program!(run);
    }
}

/// Whether the processor multiplies tiles of bf16 and the system lets this process use the registers. Asked once.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_amx() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| processor_has() && system_lets())
}

/// CPUID: leaf 7, EDX bits 22 (AMX-BF16) and 24 (AMX-TILE).
#[cfg(target_arch = "x86_64")]
fn processor_has() -> bool {
    const BITS: u32 = 1 << 22 | 1 << 24;
    std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & BITS == BITS
}

/// Linux keeps the registers, 8 KiB a thread, only of processes that ask: `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`.
/// Threads started later have the permission too, and so do those that run.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn system_lets() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    #[expect(unsafe_code, reason = "the C library has no function for this call")]
    // SAFETY: two numbers go in, and no memory is touched.
    let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    refused == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn system_lets() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;
    use crate::pairs::{Paired, pair};
    use crate::testing::Noise;
    use crate::tile::{Left, Line};

    /// The program, line by line.
    const PROGRAM: &[&str] = {
        macro_rules! lines {
            ($($line:literal),*) => { &[$($line),*] };
        }
        program!(lines)
    };

    const SIZES: [usize; 6] = [1, 2, 31, 32, 33, 512];

    #[test]
    fn the_program_sums_what_plain_arithmetic_sums_on_a_model_of_the_registers() {
        for inner in SIZES {
            check(inner, |left, right, sums| {
                let mut machine = Machine::new(left, right, sums);
                machine.run(PROGRAM);
                *sums = machine.sums();
            });
        }
    }

    #[test]
    fn plain_loops_sum_the_same() {
        for inner in SIZES {
            check(inner, plain);
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_processor_sums_the_same() {
        if !has_amx() {
            eprintln!("skipped the_processor_sums_the_same: this processor has no AMX, or the system does not let us");
            return;
        }
        for inner in SIZES {
            check(inner, on_processor);
            // And to the bit what the model sums.
            let (left, right, start) = factors(inner);
            let (left, right) = (laid_out(&left), paired(&right));
            let (mut ours, mut model) = (start, Machine::new(&left, &right, &start));
            on_processor(&left, &right, &mut ours);
            model.run(PROGRAM);
            let bits = |sums: &[Tile; TILES]| sums.map(|tile| tile.map(|line| line.0.map(f32::to_bits)));
            assert!(bits(&ours) == bits(&model.sums()), "{inner}");
        }
    }

    #[test]
    fn the_model_multiplies_as_the_manual_says() {
        let mut machine =
            Machine::new(&[RowPairs::NOTHING], &[<Line as Paired>::NOTHING; STEP], &[[Line::ZERO; ROWS]; TILES]);
        machine.run(&PROGRAM[..1]);
        let pair = |even: f32, odd: f32| even.to_bits() >> 16 | odd.to_bits() & 0xffff_0000;
        machine.set(4, 3, 1, pair(2.0, 3.0));
        machine.set(6, 1, 5, pair(10.0, 100.0));
        machine.set(0, 3, 5, 1.0_f32.to_bits());
        machine.run(&["tdpbf16ps tmm0, tmm4, tmm6"]);
        assert_eq!(machine.get(0, 3, 5), 321.0_f32.to_bits());
        assert_eq!(
            (0..16).flat_map(|m| (0..16).map(move |n| (m, n))).filter(|at| machine.get(0, at.0, at.1) != 0).count(),
            1
        );
        // Numbers too small to be normal count as zero, going in and coming out.
        machine.set(4, 0, 0, pair(f32::from_bits(1 << 16), 0.0));
        machine.set(6, 0, 0, pair(1.0, 0.0));
        machine.run(&["tdpbf16ps tmm1, tmm4, tmm6"]);
        assert_eq!(machine.get(1, 0, 0), 0);
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn the_model_sees_a_load_that_reaches_too_far() {
        let mut machine =
            Machine::new(&[RowPairs::NOTHING], &[<Line as Paired>::NOTHING; STEP], &[[Line::ZERO; ROWS]; TILES]);
        machine.run(&["ldtilecfg [rdi]", "tileloadd tmm4, [rsi + r8*1 + 1088]"]);
    }

    /// Holds a way of summing against double precision.
    fn check(inner: usize, add: impl Fn(&[RowPairs], &[LinePairs], &mut [Tile; TILES])) {
        let (left, right, start) = factors(inner);
        let mut sums = start;
        add(&laid_out(&left), &paired(&right), &mut sums);
        let exact = |number: f32| f64::from(f32::from_bits(crate::pairs::rounded(number) & 0xffff_0000));
        for (row, column) in (0..LANES).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
            let (tile, place) = (row / ROWS, row % ROWS);
            let products = left[tile].iter().zip(&right).map(|(a, b)| exact(a.0[place]) * exact(b.0[column]));
            let expected = f64::from(start[tile][place].0[column]) + products.sum::<f64>();
            let got = f64::from(sums[tile][place].0[column]);
            assert!((got - expected).abs() < 1e-4, "{inner}, row {row}, column {column}: {got} for {expected}");
        }
    }

    type Factors = ([Vec<Left>; TILES], Vec<Line>, [Tile; TILES]);

    fn factors(inner: usize) -> Factors {
        let mut noise = Noise::new(inner as u64);
        let mut left = || (0..inner).map(|_| Left(noise.randn(ROWS).try_into().unwrap())).collect();
        let left = [left(), left(), left(), left()];
        let right = (0..inner).map(|_| Line(noise.randn(COLUMNS).try_into().unwrap())).collect();
        (left, right, std::array::from_fn(|tile| std::array::from_fn(|row| Line([(8 * tile + row) as f32; COLUMNS]))))
    }

    fn laid_out(left: &[Vec<Left>; TILES]) -> Vec<RowPairs> {
        let pairs = left[0].len().div_ceil(2);
        let mut out = vec![RowPairs::NOTHING; blocks(pairs)];
        for (tile, left) in left.iter().enumerate() {
            let mut paired = vec![<Left as Paired>::NOTHING; pairs];
            pair(Level::best(), left, &mut paired);
            lay_out(tile, &paired, &mut out);
        }
        out
    }

    fn paired(right: &[Line]) -> Vec<LinePairs> {
        let pairs = right.len().div_ceil(2);
        let mut out = vec![<Line as Paired>::NOTHING; blocks(pairs) * STEP];
        pair(Level::best(), right, &mut out[..pairs]);
        out
    }

    /// Tile registers and the few others the program uses, in plain Rust, as Intel's manual describes the instructions
    /// (Software Developer's Manual, volume 2, LDTILECFG, TILELOADD, TDPBF16PS, TILESTORED).
    struct Machine {
        /// Rows and bytes of a row of each tile register, once configured.
        shapes: Option<[(usize, usize); 8]>,
        tiles: [[[u32; STEP]; REGISTER_ROWS]; 8],
        /// Left factors, right factors and sums, as numbers of 32 bits.
        memory: [Vec<u32>; 3],
        /// In bytes from the start of their memory.
        rsi: usize,
        rcx: usize,
        r11: usize,
    }

    impl Machine {
        fn new(left: &[RowPairs], right: &[LinePairs], sums: &[Tile; TILES]) -> Self {
            let left_numbers = left.iter().flat_map(|block| block.0.as_flattened()).copied().collect();
            let right_numbers = right.iter().flat_map(|line| *line.pairs()).collect();
            let numbers = sums.as_flattened().iter().flat_map(|line| line.0.map(f32::to_bits)).collect();
            Self {
                shapes: None,
                tiles: [[[0; STEP]; REGISTER_ROWS]; 8],
                memory: [left_numbers, right_numbers, numbers],
                rsi: 0,
                rcx: 0,
                r11: left.len(),
            }
        }

        fn sums(&self) -> [Tile; TILES] {
            std::array::from_fn(|tile| {
                std::array::from_fn(|row| {
                    let start = (tile * ROWS + row) * COLUMNS;
                    Line(std::array::from_fn(|column| f32::from_bits(self.memory[2][start + column])))
                })
            })
        }

        fn set(&mut self, tile: usize, row: usize, column: usize, bits: u32) {
            self.tiles[tile][row][column] = bits;
        }

        fn get(&self, tile: usize, row: usize, column: usize) -> u32 {
            self.tiles[tile][row][column]
        }

        fn run(&mut self, program: &[&str]) {
            let start = program.iter().position(|line| *line == "2:");
            let (mut next, mut zero) = (0, false);
            while let Some(line) = program.get(next) {
                next += 1;
                let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
                let operands: Vec<&str> = rest.split(", ").collect();
                match (name, &operands[..]) {
                    ("2:" | "tilerelease", _) => {}
                    ("ldtilecfg", ["[rdi]"]) => self.configure(),
                    ("tileloadd", [tile, place]) => self.load(register(tile), place),
                    ("tilestored", [place, tile]) => self.store(register(tile), place),
                    ("tdpbf16ps", [sums, a, b]) => self.multiply(register(sums), register(a), register(b)),
                    ("add", ["rsi", by]) => self.rsi += by.parse::<usize>().unwrap(),
                    ("add", ["rcx", by]) => self.rcx += by.parse::<usize>().unwrap(),
                    ("sub", ["r11", "1"]) => {
                        self.r11 -= 1;
                        zero = self.r11 == 0;
                    }
                    ("jnz", ["2b"]) if zero => {}
                    ("jnz", ["2b"]) => next = start.unwrap(),
                    other => unreachable!("the model does not know {other:?}"),
                }
            }
        }

        fn configure(&mut self) {
            let bytes = &CONFIG.0;
            assert_eq!(bytes[0], 1, "palette 1 has eight registers");
            self.shapes = Some(std::array::from_fn(|tile| {
                let row_bytes = u16::from_le_bytes([bytes[16 + 2 * tile], bytes[17 + 2 * tile]]);
                let shape = (usize::from(bytes[48 + tile]), usize::from(row_bytes));
                assert!(shape.0 <= 16 && shape.1 <= 64, "a register has 16 rows of 64 bytes");
                shape
            }));
        }

        /// Which memory, the number its first row starts with, and how many numbers to the next.
        fn place(&self, place: &str) -> (usize, usize, usize) {
            let inner = place.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
            let parts: Vec<&str> = inner.split(" + ").collect();
            let (memory, base) = match parts[0] {
                "rsi" => (0, self.rsi),
                "rcx" => (1, self.rcx),
                "r10" => (2, 0),
                other => unreachable!("no memory at {other}"),
            };
            let stride = match parts[1] {
                "r8*1" => LEFT_BYTES,
                "r9*1" => LINE_BYTES,
                other => unreachable!("no stride {other}"),
            };
            let offset = parts.get(2).map_or(0, |offset| offset.parse::<usize>().unwrap());
            (memory, (base + offset) / 4, stride / 4)
        }

        fn load(&mut self, tile: usize, place: &str) {
            let (rows, bytes) = self.shapes.unwrap()[tile];
            let (memory, start, stride) = self.place(place);
            self.tiles[tile] = [[0; STEP]; REGISTER_ROWS];
            for row in 0..rows {
                let from = self.memory[memory].get(start + row * stride..start + row * stride + bytes / 4);
                self.tiles[tile][row][..bytes / 4].copy_from_slice(from.expect("loads stay inside"));
            }
        }

        fn store(&mut self, tile: usize, place: &str) {
            let (rows, bytes) = self.shapes.unwrap()[tile];
            let (memory, start, stride) = self.place(place);
            for row in 0..rows {
                let to = self.memory[memory].get_mut(start + row * stride..start + row * stride + bytes / 4);
                to.expect("stores stay inside").copy_from_slice(&self.tiles[tile][row][..bytes / 4]);
            }
        }

        /// Even and odd products are summed apart, then together, then to what is there.
        fn multiply(&mut self, sums: usize, a: usize, b: usize) {
            let shapes = self.shapes.unwrap();
            let (columns, pairs) = (shapes[sums].1 / 4, shapes[a].1 / 4);
            assert!(shapes[sums].0 == shapes[a].0 && shapes[b].0 == pairs && shapes[b].1 == shapes[sums].1);
            for row in 0..shapes[sums].0 {
                let (mut even, mut odd) = ([0.0_f32; STEP], [0.0_f32; STEP]);
                for pair in 0..pairs {
                    for column in 0..columns {
                        let (a, b) = (self.tiles[a][row][pair], self.tiles[b][pair][column]);
                        let halves = |pair: u32| (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000));
                        let ((even_a, odd_a), (even_b, odd_b)) = (halves(a), halves(b));
                        even[column] = normal(normal(even_a).mul_add(normal(even_b), even[column]));
                        odd[column] = normal(normal(odd_a).mul_add(normal(odd_b), odd[column]));
                    }
                }
                for column in 0..columns {
                    let both = normal(even[column] + odd[column]);
                    let sum = f32::from_bits(self.tiles[sums][row][column]);
                    self.tiles[sums][row][column] = normal(normal(sum) + both).to_bits();
                }
            }
        }
    }

    /// Numbers too small to be normal are zero to these instructions.
    fn normal(number: f32) -> f32 {
        if number.is_subnormal() { 0.0 } else { number }
    }

    fn register(name: &str) -> usize {
        name.strip_prefix("tmm").unwrap().parse().unwrap()
    }
}
