//! Memory that was freed, back to the system.

/// Gives back what the allocator keeps of memory that was freed. glibc keeps all but the largest
/// pieces for later: after a model is unloaded that is its tokenizer and its caches. Elsewhere
/// allocators give back by themselves.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) only touches memory that nobody holds, and may be called from any
    // thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
