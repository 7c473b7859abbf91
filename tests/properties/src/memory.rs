//! How much is allocated.

/// Runs `decode`, and checks that it never holds more than this many bytes at once.
///
/// Only what the calling thread allocates counts.
///
/// # Panics
///
/// When more is allocated.
pub fn within<T>(bytes_max: usize, decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let counted = allocation_counter::measure(|| decoded = Some(decode()));
    let held = usize::try_from(counted.bytes_max).unwrap();
    assert!(held <= bytes_max, "{held} bytes are allocated, and no more than {bytes_max} may be");
    decoded.unwrap()
}
