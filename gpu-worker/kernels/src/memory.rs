//! Memory that was freed, given back to the system.

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
