//! Matrix products on the CPU, with as many threads as pay.
//!
//! Candle gives every product to all threads; for the small ones of a small model, handing out the work costs more than
//! the work: half of the CPU time and wall time of `tintype/shapes` went there.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;

/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 23;

/// `a` (..., m, k) times the transpose of `b`, which is (..., n, k) with the same batch, or (n, k) for all of it.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn matmul_t(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() {
        return a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &Product { transposed: true });
    }
    a.broadcast_matmul(&b.transpose(D::Minus1, D::Minus2)?)
}

/// `a` (..., m, k) times `b`, which is (..., k, n) with the same batch, or (k, n) for all of it.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() {
        return a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &Product { transposed: false });
    }
    a.broadcast_matmul(b)
}

struct Product {
    /// Whether the second factor's rows are the product's columns.
    transposed: bool,
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some((start1, end1)), Some((start2, end2))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("a product wants contiguous tensors");
        };
        let (a, b) = (&s1.as_slice::<f32>()?[start1..end1], &s2.as_slice::<f32>()?[start2..end2]);
        let ([batch_a @ .., m, k], [batch_b @ .., b1, b2]) = (l1.dims(), l2.dims()) else {
            bail!("a product wants matrices");
        };
        let (b_inner, n) = if self.transposed { (*b2, *b1) } else { (*b1, *b2) };
        let shared = batch_b.is_empty();
        if b_inner != *k || !(shared || batch_a == batch_b) {
            bail!("{:?} times {:?} is no product", l1.dims(), l2.dims());
        }
        let batch: usize = batch_a.iter().product();
        // One second factor for all is one tall product.
        let (count, rows) = if shared { (1, batch * m) } else { (batch, *m) };
        let mut out = vec![0.0; batch * m * n];
        let sides = Sides { rows, inner: *k, columns: n, transposed: self.transposed };
        for index in 0..count {
            let b = if shared { b } else { &b[index * k * n..][..k * n] };
            multiply(sides, &a[index * rows * k..][..rows * k], b, &mut out[index * rows * n..][..rows * n]);
        }
        let shape: Vec<usize> = batch_a.iter().copied().chain([*m, n]).collect();
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}

#[derive(Clone, Copy)]
struct Sides {
    rows: usize,
    inner: usize,
    columns: usize,
    transposed: bool,
}

fn multiply(sides: Sides, a: &[f32], b: &[f32], out: &mut [f32]) {
    let Sides { rows, inner, columns, transposed } = sides;
    assert_eq!((a.len(), b.len(), out.len()), (rows * inner, inner * columns, rows * columns), "slices are whole");
    let (b_column, b_row) = if transposed { (inner, 1) } else { (1, columns) };
    #[expect(unsafe_code, reason = "gemm's only entry takes raw pointers; all lengths are asserted above")]
    // SAFETY: the three slices cover every element the strides reach, and `out` overlaps neither input.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            columns as isize,
            false,
            a.as_ptr(),
            1,
            inner as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            threads(rows * columns * inner),
        );
    }
}

/// One thread for a small product, all of them for a large one.
pub(super) fn threads(multiply_adds: usize) -> Parallelism {
    if multiply_adds < PARALLEL_FROM { Parallelism::None } else { Parallelism::Rayon(0) }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{matmul, matmul_t};
    use crate::rng::Mt19937;

    #[test]
    fn every_shape_agrees_with_candles_product() {
        for (batch, rows, inner, columns) in
            [(1, 1, 3, 5), (2, 77, 96, 384), (8, 64, 12, 77), (3, 1, 1, 1), (1, 300, 320, 320)]
        {
            let a = random(&[2, batch, rows, inner], 1);
            let b = random(&[2, batch, inner, columns], 2);
            let plain = a.matmul(&b).unwrap();
            same(&matmul(&a, &b).unwrap(), &plain);
            same(&matmul_t(&a, &b.t().unwrap()).unwrap(), &plain);
            let one = random(&[inner, columns], 3);
            let plain = a.broadcast_matmul(&one).unwrap();
            same(&matmul(&a, &one).unwrap(), &plain);
            same(&matmul_t(&a, &one.t().unwrap()).unwrap(), &plain);
        }
    }

    #[test]
    fn matrices_that_do_not_fit_are_an_error() {
        let a = random(&[2, 3, 4], 1);
        for shape in [[2, 3, 4], [3, 4, 5], [1, 4, 5]] {
            assert!(matmul(&a, &random(&shape, 2)).is_err(), "{shape:?}");
        }
        assert!(matmul(&a, &random(&[4], 2)).is_err());
    }

    fn same(got: &Tensor, expected: &Tensor) {
        assert_eq!(got.dims(), expected.dims());
        let off = (got - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        let off = off.to_scalar::<f32>().unwrap();
        assert!(off < 1e-4, "off by {off}");
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Tensor::from_vec(Mt19937::new(seed).randn(shape.iter().product()), shape, &Device::Cpu).unwrap()
    }
}
