//! The text of the kernels, built by the host's C++ compiler against `cuda/twin.h`, beside plain arithmetic. Without a compiler
//! they say what they skip.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use candle_core::{DType, Tensor};

use super::super::attention::tests::{mask, reference, tensors};
use super::super::data;
use super::*;
use crate::testing::{assert_close, bits};

/// (batch, queries, keys, width, heads): one of everything, each width of a kernel and one below, ends inside of tiles and at
/// their borders, several blocks and several tiles.
const SHAPES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 1, 1, 1, 1),
    (2, 20, 33, 12, 2),
    (1, 70, 130, 40, 1),
    (1, 16, 64, 64, 1),
    (1, 33, 40, 80, 1),
    (1, 9, 17, 128, 1),
    (1, 9, 33, 160, 1),
];

/// One test, as the compiler takes seconds.
#[test]
fn the_kernels_for_gpus_keep_their_word_on_a_stand_in() {
    let Some(twin) = Twin::built("the_kernels_for_gpus_keep_their_word_on_a_stand_in") else { return };
    they_agree_with_plain_arithmetic(&twin);
    threads_may_run_in_any_order(&twin);
    a_sample_does_not_depend_on_those_beside_it(&twin);
    what_is_not_a_number_stays_so(&twin);
}

fn they_agree_with_plain_arithmetic(twin: &Twin) {
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::F16, 1e-3), (Precision::Bf16, 8e-3)] {
        for (batch, queried, keyed, width, heads) in SHAPES {
            let [q, k, v] = tensors(batch, queried, keyed, width * heads).map(|numbers| short(numbers, precision));
            let open = mask(queried, keyed);
            // Each way for about half of them: a stand-in is slow.
            let mask = (queried % 2 == 1).then_some(&open[..]);
            let got = twin.run((precision, 1), (batch, queried, keyed, width, heads), [&q, &k, &v], mask);
            let expected = reference((&q, &k, &v), mask, (queried, keyed, width, heads));
            let name = format!("{precision} {queried}x{keyed}x{width}, masked: {}", mask.is_some());
            assert_close(&name, &got, &expected, tolerance);
        }
    }
}

fn threads_may_run_in_any_order(twin: &Twin) {
    let sizes = (1, 40, 70, 32, 1);
    let [q, k, v] = tensors(1, 40, 70, 32);
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        let run = |seed| bits(&twin.run((precision, seed), sizes, [&q, &k, &v], None));
        let first = run(1);
        for seed in 2..4 {
            assert!(run(seed) == first, "{precision}: a barrier is missing");
        }
    }
}

fn a_sample_does_not_depend_on_those_beside_it(twin: &Twin) {
    let [q, k, v] = tensors(2, 20, 30, 64);
    let both = bits(&twin.run((Precision::F16, 1), (2, 20, 30, 32, 2), [&q, &k, &v], None));
    let (q, k, v) = (&q[20 * 64..], &k[30 * 64..], &v[30 * 64..]);
    let second = bits(&twin.run((Precision::F16, 1), (1, 20, 30, 32, 2), [q, k, v], None));
    assert!(second == both[20 * 64..]);
}

fn what_is_not_a_number_stays_so(twin: &Twin) {
    let [mut q, k, v] = tensors(1, 3, 40, 8);
    q[8] = f32::NAN;
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        let got = twin.run((precision, 1), (1, 3, 40, 8, 1), [&q, &k, &v], None);
        let wrong: Vec<bool> = got.chunks(8).map(|row| row.iter().all(|number| number.is_nan())).collect();
        assert_eq!(wrong, [false, true, false], "{precision}");
    }
}

#[test]
fn a_head_gets_the_narrowest_kernel_that_holds_it_or_none() {
    let name = |precision, width| Kernel::of(precision, width).map(|kernel| kernel.name);
    assert_eq!(name(Precision::F32, 40).as_deref(), Some("attention_f32_48"));
    assert_eq!(name(Precision::F16, 64).as_deref(), Some("attention_f16_64"));
    assert_eq!(name(Precision::Bf16, 160).as_deref(), Some("attention_bf16_160"));
    assert_eq!(name(Precision::Bf16, 161), None, "the autoencoder's one head is 512 wide");
}

/// The numbers as a kernel sees them.
fn short(numbers: Vec<f32>, precision: Precision) -> Vec<f32> {
    let count = numbers.len();
    let tensor: Tensor = data::tensor(numbers, count).unwrap();
    let rounded = tensor.to_dtype(precision.factors()).unwrap().to_dtype(DType::F32).unwrap();
    rounded.to_vec1().unwrap()
}

/// The program that runs kernels on a stand-in for a GPU, in a folder that goes with it.
struct Twin {
    folder: tempfile::TempDir,
}

impl Twin {
    /// None, and a word about it, where no C++ compiler is installed.
    fn built(test: &str) -> Option<Self> {
        let Ok(found) = Command::new("c++").arg("--version").stdout(Stdio::null()).status() else {
            eprintln!("skipped {test}: no C++ compiler (c++) is installed");
            return None;
        };
        assert!(found.success());
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/twin.cpp");
        let flags = ["-std=c++17", "-O1"];
        let mut compiler = Command::new("c++");
        let status = compiler.args(flags).arg(source).arg("-o").arg(folder.path().join("twin")).status().unwrap();
        assert!(status.success(), "the kernels do not compile");
        Some(Self { folder })
    }

    /// The answer of one kernel; `seed` draws the order of its threads.
    fn run(
        &self,
        (precision, seed): (Precision, usize),
        (batch, queried, keyed, width, heads): (usize, usize, usize, usize, usize),
        tensors: [&[f32]; 3],
        mask: Option<&[f32]>,
    ) -> Vec<f32> {
        let kernel = Kernel::of(precision, width).unwrap();
        let masked = usize::from(mask.is_some());
        let numbers = [kernel.threads(), kernel.queries(), seed, batch, queried, keyed, heads, width, masked]
            .map(|n| n.to_string());
        let mut twin = Command::new(self.folder.path().join("twin"));
        twin.arg(&kernel.name).args(numbers).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut twin = twin.spawn().unwrap();
        // It reads all before it writes.
        let mut input = twin.stdin.take().unwrap();
        for tensor in tensors.into_iter().chain(mask) {
            let bytes: Vec<u8> = tensor.iter().flat_map(|number| number.to_le_bytes()).collect();
            input.write_all(&bytes).unwrap();
        }
        drop(input);
        let answer = twin.wait_with_output().unwrap();
        assert!(answer.status.success(), "{}: {}", kernel.name, answer.status);
        answer.stdout.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
