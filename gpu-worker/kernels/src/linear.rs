//! Products of tensors: linear layers, the ways from maps to tokens and back, and plain matrices.

use candle_core::{D, DType, Result, Tensor, bail};

use super::data::{self, Numbers};
use super::elsewhere::product;
use super::gemm::{Bias, Product, Samples};
use super::level::Level;
use super::pack::{Matrix, Order};
use super::precision::Precision;

/// What goes with the factors of a product.
#[derive(Clone, Copy, Debug, Default)]
pub struct With<'a> {
    /// A number for each output channel.
    pub bias: Option<&'a Tensor>,
    /// A tensor of the result's shape, added to it.
    pub rest: Option<&'a Tensor>,
    /// How exact the products are, on the CPU.
    pub precision: Precision,
}

impl<'a> With<'a> {
    /// Only a bias.
    pub fn bias(bias: Option<&'a Tensor>) -> Self {
        Self { bias, ..Self::default() }
    }

    /// Makes both contiguous and checks their shapes.
    pub(super) fn checked(self, channels: usize, shape: &[usize]) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if self.bias.is_some_and(|bias| bias.elem_count() != channels) {
            bail!("a bias that is not for {channels} channels");
        }
        if self.rest.is_some_and(|rest| rest.dims() != shape) {
            bail!("what is added does not have the shape {shape:?}");
        }
        Ok((self.bias.map(Tensor::contiguous).transpose()?, self.rest.map(Tensor::contiguous).transpose()?))
    }

    /// Other devices' way: `axis` is the dimension of the channels.
    pub(super) fn onto(self, mut result: Tensor, axis: usize) -> Result<Tensor> {
        if let Some(bias) = self.bias {
            let mut shape = vec![1; result.rank()];
            shape[axis] = bias.elem_count();
            result = result.broadcast_add(&bias.reshape(shape)?)?;
        }
        match self.rest {
            Some(rest) => result + rest,
            None => Ok(result),
        }
    }
}

/// `x` (..., inner) times the transpose of `weight` (outer, inner), plus what is added: (..., outer).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn linear(x: &Tensor, weight: &Tensor, with: With<'_>) -> Result<Tensor> {
    let ([shape @ .., inner], (outer, weighed)) = (x.dims(), weight.dims2()?) else {
        bail!("a linear layer of a number")
    };
    if *inner != weighed {
        bail!("a linear layer {:?} of {:?}", weight.dims(), x.dims());
    }
    let shape: Vec<usize> = shape.iter().copied().chain([outer]).collect();
    if !x.device().is_cpu() {
        let product = product((x, weight), with.precision, |x, weight| x.broadcast_matmul(&weight.t()?))?;
        return with.onto(product, shape.len() - 1);
    }
    let (bias, rest) = with.checked(outer, &shape)?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (x, weight) = (Numbers::of(&x)?, Numbers::of(&weight)?);
    let (bias, rest) = (bias.as_ref().map(Numbers::of).transpose()?, rest.as_ref().map(Numbers::of).transpose()?);
    let matrix = Matrix { data: weight.slice(), stride: weighed, order: Order::ByLine };
    let product = Product {
        level: Level::best(),
        precision: with.precision,
        rows: shape.iter().product::<usize>() / outer.max(1),
        inner: weighed,
        samples: 1,
        columns: outer,
        left: Matrix { data: x.slice(), stride: weighed, order: Order::ByLine },
        right: &Samples { matrix, sample_stride: 0, columns: outer },
        bias: bias.as_ref().map_or(Bias::None, |bias| Bias::Columns(bias.slice())),
        add: rest.as_ref().map(Numbers::slice),
    };
    data::tensor(product.compute(), shape)
}

/// A linear layer over the channels of a map: (batch, inner, ...) to tokens (batch, pixels, outer).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn map_to_tokens(map: &Tensor, weight: &Tensor, with: With<'_>) -> Result<Tensor> {
    let (flat, (outer, inner)) = (map.flatten_from(2)?, weight.dims2()?);
    let (batch, channels, pixels) = flat.dims3()?;
    if !map.device().is_cpu() {
        return linear(&flat.transpose(1, 2)?.contiguous()?, weight, with);
    }
    let shape = [batch, pixels, outer];
    let (bias, rest) = with.checked(outer, &shape)?;
    if channels != inner {
        bail!("a linear layer {:?} over the channels of {:?}", weight.dims(), map.dims());
    }
    let (flat, weight) = (flat.contiguous()?, weight.contiguous()?);
    let (numbers, weights) = (Numbers::of(&flat)?, Numbers::of(&weight)?);
    let (bias, rest) = (bias.as_ref().map(Numbers::of).transpose()?, rest.as_ref().map(Numbers::of).transpose()?);
    let matrix = Matrix { data: weights.slice(), stride: inner, order: Order::ByLine };
    let mut out = Vec::with_capacity(batch * pixels * outer);
    for sample in 0..batch {
        let data = &numbers.slice()[sample * inner * pixels..];
        let product = Product {
            level: Level::best(),
            precision: with.precision,
            rows: pixels,
            inner,
            samples: 1,
            columns: outer,
            left: Matrix { data, stride: pixels, order: Order::ByInner },
            right: &Samples { matrix, sample_stride: 0, columns: outer },
            bias: bias.as_ref().map_or(Bias::None, |bias| Bias::Columns(bias.slice())),
            add: rest.as_ref().map(|rest| &rest.slice()[sample * pixels * outer..][..pixels * outer]),
        };
        out.extend(product.compute());
    }
    data::tensor(out, shape.to_vec())
}

/// A linear layer from tokens (batch, pixels, inner) to a map of a given shape, (batch, outer, ...).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn tokens_to_map(tokens: &Tensor, weight: &Tensor, with: With<'_>, shape: &[usize]) -> Result<Tensor> {
    let ((batch, pixels, inner), (outer, weighed)) = (tokens.dims3()?, weight.dims2()?);
    if inner != weighed || !shape.starts_with(&[batch, outer]) || shape[2..].iter().product::<usize>() != pixels {
        bail!("a linear layer {:?} from {:?} to a map {shape:?}", weight.dims(), tokens.dims());
    }
    if !tokens.device().is_cpu() {
        let map = linear(tokens, weight, With { rest: None, ..with })?.transpose(1, 2)?.reshape(shape)?;
        return With { bias: None, ..with }.onto(map, 1);
    }
    let (bias, rest) = with.checked(outer, shape)?;
    let (tokens, weight) = (tokens.contiguous()?, weight.contiguous()?);
    let (tokens, weight) = (Numbers::of(&tokens)?, Numbers::of(&weight)?);
    let (bias, rest) = (bias.as_ref().map(Numbers::of).transpose()?, rest.as_ref().map(Numbers::of).transpose()?);
    let matrix = Matrix { data: tokens.slice(), stride: inner, order: Order::ByLine };
    let product = Product {
        level: Level::best(),
        precision: with.precision,
        rows: outer,
        inner,
        samples: batch,
        columns: pixels,
        left: Matrix { data: weight.slice(), stride: inner, order: Order::ByLine },
        right: &Samples { matrix, sample_stride: pixels * inner, columns: pixels },
        bias: bias.as_ref().map_or(Bias::None, |bias| Bias::Rows(bias.slice())),
        add: rest.as_ref().map(Numbers::slice),
    };
    data::tensor(product.compute(), shape)
}

/// `a` (..., m, k) times the transpose of `b`, which is (..., n, k) with the same batch, or (n, k) for all of it.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn matmul_t(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        return a.broadcast_matmul(&b.transpose(D::Minus1, D::Minus2)?);
    }
    if b.rank() == 2 {
        return linear(a, b, With::default());
    }
    batched(a, b, Order::ByLine, None)
}

/// `a` (..., m, k) times `b`, which is (..., k, n) with the same batch, or (k, n) for all of it.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { batched(a, b, Order::ByInner, None) } else { a.broadcast_matmul(b) }
}

/// `a` (m, k) times `b` (k, n), plus `rest` (m, n).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn matmul_onto(a: &Tensor, b: &Tensor, rest: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() {
        // What is added may be weights that are kept short.
        return a.matmul(b)? + rest.to_dtype(DType::F32)?;
    }
    let ((m, _), (_, n)) = (a.dims2()?, b.dims2()?);
    if rest.dims() != [m, n] {
        bail!("{:?} onto a product of {m} by {n}", rest.dims());
    }
    batched(a, b, Order::ByInner, Some(&rest.contiguous()?))
}

fn batched(a: &Tensor, b: &Tensor, order: Order, rest: Option<&Tensor>) -> Result<Tensor> {
    let ([batch_a @ .., m, k], [batch_b @ .., b1, b2]) = (a.dims(), b.dims()) else {
        bail!("a product wants matrices");
    };
    let (inner, n) = if order == Order::ByLine { (*b2, *b1) } else { (*b1, *b2) };
    let shared = batch_b.is_empty();
    if inner != *k || !(shared || batch_a == batch_b) {
        bail!("{:?} times {:?} is no product", a.dims(), b.dims());
    }
    let batch: usize = batch_a.iter().product();
    // One second factor for all is one tall product.
    let (count, rows) = if shared { (1, batch * m) } else { (batch, *m) };
    let shape: Vec<usize> = batch_a.iter().copied().chain([*m, n]).collect();
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (a, b, rest) = (Numbers::of(&a)?, Numbers::of(&b)?, rest.map(Numbers::of).transpose()?);
    let mut out = Vec::with_capacity(batch * m * n);
    for index in 0..count {
        let (a, b) = (&a.slice()[index * rows * inner..], &b.slice()[index * inner * n..]);
        let matrix = Matrix { data: b, stride: *b2, order };
        let product = Product {
            level: Level::best(),
            precision: Precision::F32,
            rows,
            inner,
            samples: 1,
            columns: n,
            left: Matrix { data: a, stride: inner, order: Order::ByLine },
            right: &Samples { matrix, sample_stride: 0, columns: n },
            bias: Bias::None,
            add: rest.as_ref().map(Numbers::slice),
        };
        out.extend(product.compute());
    }
    data::tensor(out, shape)
}
#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

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
            let (flat, rest) = (a.flatten_to(2).unwrap(), random(&[2 * batch * rows, columns], 6));
            same(&matmul_onto(&flat, &one, &rest).unwrap(), &(flat.matmul(&one).unwrap() + &rest).unwrap());
            assert!(matmul_onto(&flat, &one, &one.t().unwrap().repeat((1, 2)).unwrap()).is_err());
            let plain = a.broadcast_matmul(&one).unwrap();
            same(&matmul(&a, &one).unwrap(), &plain);
            same(&matmul_t(&a, &one.t().unwrap()).unwrap(), &plain);
            let (bias, rest) = (random(&[columns], 4), random(plain.dims(), 5));
            let with = With { bias: Some(&bias), rest: Some(&rest), ..With::default() };
            let expected = (plain.broadcast_add(&bias).unwrap() + &rest).unwrap();
            same(&linear(&a, &one.t().unwrap(), with).unwrap(), &expected);
            same(&with.onto(plain, 3).unwrap(), &expected);
        }
    }

    #[test]
    fn maps_become_tokens_and_maps_again() {
        for (batch, inner, outer, height, width) in [(1, 3, 5, 1, 1), (2, 40, 33, 6, 7), (3, 8, 64, 16, 16)] {
            let (map, weight) = (random(&[batch, inner, height, width], 1), random(&[outer, inner], 2));
            let (bias, like) = (random(&[outer], 3), random(&[batch, outer, height, width], 4));
            let tokens = map.flatten_from(2).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
            let plain = tokens.broadcast_matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
            same(&map_to_tokens(&map, &weight, With::bias(Some(&bias))).unwrap(), &plain);
            let back = plain.transpose(1, 2).unwrap().reshape(like.dims()).unwrap();
            let with = With { bias: Some(&bias), rest: Some(&like), ..With::default() };
            same(&tokens_to_map(&tokens, &weight, with, like.dims()).unwrap(), &(back + &like).unwrap());
        }
        let (map, weight) = (random(&[1, 3, 2, 2], 1), random(&[5, 4], 2));
        assert!(map_to_tokens(&map, &weight, With::default()).is_err());
        assert!(tokens_to_map(&random(&[1, 4, 4], 1), &weight, With::default(), map.dims()).is_err());
    }

    #[test]
    fn a_row_has_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let weight = random(&[200, 600], 2);
        let all = bits(&flat(&linear(&random(&[4 * 77, 600], 1), &weight, With::default()).unwrap()));
        for (rows, threads) in [(1, 1), (1, 2), (77, 1), (154, 2), (4 * 77, 1), (4 * 77, 2)] {
            let x = random(&[4 * 77, 600], 1).narrow(0, 0, rows).unwrap();
            let some = in_pool(threads, || bits(&flat(&linear(&x, &weight, With::default()).unwrap())));
            assert!(some == all[..rows * 200], "{rows} rows on {threads} threads");
        }
    }

    #[test]
    fn in_bf16_only_the_factors_are_rounded() {
        let (x, weight) = (random(&[37, 611], 1), random(&[45, 611], 2));
        let with = With { precision: Precision::Bf16, ..With::default() };
        let short = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let expected = short(&x).matmul(&short(&weight).t().unwrap()).unwrap();
        let all = linear(&x, &weight, with).unwrap();
        same(&all, &expected);
        for (rows, threads) in [(1, 1), (2, 2), (37, 2)] {
            let part = x.narrow(0, 0, rows).unwrap();
            let some = in_pool(threads, || flat(&linear(&part, &weight, with).unwrap()));
            assert!(bits(&some) == bits(&flat(&all))[..rows * 45], "{rows} rows on {threads} threads");
        }
    }

    #[test]
    fn matrices_that_do_not_fit_are_an_error() {
        let a = random(&[2, 3, 4], 1);
        for shape in [[2, 3, 4], [3, 4, 5], [1, 4, 5]] {
            assert!(matmul(&a, &random(&shape, 2)).is_err(), "{shape:?}");
        }
        assert!(matmul(&a, &random(&[4], 2)).is_err());
        assert!(linear(&a, &random(&[5, 3], 2), With::default()).is_err());
        let bias = random(&[4], 1);
        assert!(linear(&a, &random(&[5, 4], 2), With::bias(Some(&bias))).is_err());
    }

    fn same(got: &Tensor, expected: &Tensor) {
        assert_eq!(got.dims(), expected.dims());
        assert_close("product", &flat(got), &flat(expected), 1e-5);
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
    }
}
