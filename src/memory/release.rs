//! Return of freed memory to the system.

/// Returns freed memory that the allocator keeps. glibc keeps all but the largest pieces for later:
/// after a model is unloaded, these are its tokenizer and its caches. Other allocators return it by
/// themselves.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) only touches memory that is not in use, and may be called from any
    // thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
