//! A result that several threads write, each its own parts of it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::{IndexedParallelIterator as _, ParallelIterator as _, ParallelSliceMut as _};

use super::memory::in_large_pages;

/// A result that holds no numbers yet. Zeros would be written for nothing: every kernel writes every number.
pub(super) struct Fresh(Vec<f32>);

impl Fresh {
    pub(super) fn new(len: usize) -> Self {
        let mut numbers = Vec::with_capacity(len);
        in_large_pages(numbers.spare_capacity_mut());
        Self(numbers)
    }

    /// Its numbers, to be written.
    pub(super) fn numbers(&mut self) -> &mut [MaybeUninit<f32>] {
        self.0.spare_capacity_mut()
    }

    /// The first `len` numbers.
    ///
    /// # Safety
    /// They were all written.
    #[expect(unsafe_code, reason = "only the kernel knows that it has written all")]
    pub(super) unsafe fn finish(mut self, len: usize) -> Vec<f32> {
        assert!(len <= self.0.capacity(), "as many as there is room for");
        // SAFETY: inside the capacity, and written, as the caller promised.
        unsafe { self.0.set_len(len) };
        self.0
    }
}

/// A result of `len` numbers of which each chunk of `size` is written by itself; on all threads from `parallel_from` on.
///
/// # Safety
/// `write` writes every number of every chunk.
#[expect(unsafe_code, reason = "only the kernel knows that it has written all")]
pub(super) unsafe fn in_chunks(
    len: usize,
    size: usize,
    parallel_from: usize,
    write: impl Fn((usize, &mut [MaybeUninit<f32>])) + Send + Sync,
) -> Vec<f32> {
    let mut out = Fresh::new(len);
    let numbers = &mut out.numbers()[..len];
    if len < parallel_from {
        numbers.chunks_mut(size).enumerate().for_each(write);
    } else {
        numbers.par_chunks_mut(size).enumerate().for_each(write);
    }
    // SAFETY: the chunks cover the result, and were written, as the caller promised.
    unsafe { out.finish(len) }
}

/// Numbers lent to all threads of a kernel.
pub(super) struct Shared<'a> {
    start: *mut MaybeUninit<f32>,
    len: usize,
    numbers: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

#[expect(unsafe_code, reason = "the borrow checker cannot see that the threads' parts are disjoint")]
// SAFETY: plain numbers may be written from any thread; who calls `part` sees to it that no two hold the same.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(numbers: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { start: numbers.as_mut_ptr(), len: numbers.len(), numbers: PhantomData }
    }

    /// Lends out a part.
    ///
    /// # Safety
    /// While the part is held, no other part that overlaps it may be.
    #[expect(unsafe_code, reason = "see above")]
    #[expect(clippy::mut_from_ref, reason = "that parts are disjoint is the caller's promise")]
    pub(super) unsafe fn part(&self, part: Range<usize>) -> &mut [MaybeUninit<f32>] {
        assert!(part.start <= part.end && part.end <= self.len, "the part lies in the result");
        // SAFETY: inside the numbers borrowed by `new`, and held by nobody else, as the caller promised.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(part.start), part.len()) }
    }
}
