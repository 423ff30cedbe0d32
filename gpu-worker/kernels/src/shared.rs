//! A result that several threads write, each its own parts of it.

use std::marker::PhantomData;
use std::ops::Range;

/// Numbers lent to all threads of a kernel.
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    numbers: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "the borrow checker cannot see that the threads' parts are disjoint")]
// SAFETY: plain numbers may be written from any thread; who calls `part` sees to it that no two hold the same.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(numbers: &'a mut [f32]) -> Self {
        Self { start: numbers.as_mut_ptr(), len: numbers.len(), numbers: PhantomData }
    }

    /// Lends out a part.
    ///
    /// # Safety
    /// While the part is held, no other part that overlaps it may be.
    #[expect(unsafe_code, reason = "see above")]
    #[expect(clippy::mut_from_ref, reason = "that parts are disjoint is the caller's promise")]
    pub(super) unsafe fn part(&self, part: Range<usize>) -> &mut [f32] {
        assert!(part.start <= part.end && part.end <= self.len, "the part lies in the result");
        // SAFETY: inside the numbers borrowed by `new`, and held by nobody else, as the caller promised.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(part.start), part.len()) }
    }
}
