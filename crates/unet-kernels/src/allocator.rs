//! [`give_back_freed_blocks`]: whether memory that a program has freed is the system's again.

/// Blocks from which on what is freed is given back: 1 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const BLOCK: std::ffi::c_int = 1 << 20;

/// Makes the C library's allocator give every freed block of a megabyte or more back to the system. To be called where a program begins.
///
/// glibc raises the size from which it does so to that of the largest block ever freed, up to 32 MiB, and keeps smaller ones for later,
/// in a store per thread, in pieces: a program of many large blocks then holds up to twice of what it uses. What is needed again and again
/// is kept by those who need it, so that pages are not faulted in anew in every step. Elsewhere than on Linux with glibc it does nothing.
pub fn give_back_freed_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // malloc.h's M_MMAP_THRESHOLD.
        const MMAP_THRESHOLD: std::ffi::c_int = -3;
        unsafe extern "C" {
            fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        // SAFETY: the declaration is that of glibc's malloc.h; it is called with a parameter that it knows, takes the allocator's lock, and
        // changes one number that says how blocks allocated from then on are come by. Blocks there are stay valid.
        unsafe { mallopt(MMAP_THRESHOLD, BLOCK) };
    }
}
