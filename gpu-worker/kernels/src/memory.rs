//! Memory taken from the system in large pages, and given back to it.

use std::mem::MaybeUninit;

/// Numbers from which on large pages are asked for: 4 MiB of them.
const LARGE_FROM: usize = 1 << 20;
/// A large page, in bytes; where the system's are larger still, it rounds by itself.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Asks the system for large pages under a result that nobody has written yet. Tens of megabytes are new memory each time, and
/// taking them up 4 KiB at a time was a fifth of what a wide linear layer took. Where the system has none, nothing changes.
pub(super) fn in_large_pages(numbers: &mut [MaybeUninit<f32>]) {
    if numbers.len() < LARGE_FROM {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let bytes = size_of_val(numbers);
        let start = numbers.as_mut_ptr().cast::<u8>();
        let skipped = start.addr().next_multiple_of(LARGE_PAGE) - start.addr();
        let len = bytes.saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
        if len > 0 {
            #[expect(unsafe_code, reason = "a call of the C library about memory that is borrowed here")]
            // SAFETY: whole pages inside of `numbers`; the advice changes none of them. It may be refused, and then nothing is lost.
            unsafe {
                libc::madvise(start.add(skipped).cast(), len, libc::MADV_HUGEPAGE);
            }
        }
    }
}

/// Has the allocator return what it holds for later. Without it the gigabytes of a model that was put out stay this
/// process's, as glibc keeps freed memory for the next that asks. Takes milliseconds. Other allocators need no telling.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "a call of the C library without pointers; it may be made at any time by any thread"
    )]
    // SAFETY: malloc_trim takes a number, locks what it touches, and frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::shared::Fresh;

    #[test]
    fn a_large_result_is_asked_for_in_large_pages() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            eprintln!("skipped a_large_result_is_asked_for_in_large_pages: this system has none");
            return;
        }
        let mut large = Fresh::new(16 << 20);
        let middle = large.numbers()[8 << 20..].as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let within = |line: &str| {
            let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-'))?;
            let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).ok());
            Some((from?..to?).contains(&middle))
        };
        let flags =
            maps.lines().skip_while(|line| within(line) != Some(true)).find(|line| line.starts_with("VmFlags:"));
        assert!(flags.unwrap().split(' ').any(|flag| flag == "hg"), "{flags:?}");
    }
}
