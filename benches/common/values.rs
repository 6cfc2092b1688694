//! What benchmarks compute with.

/// Values without a pattern that a cache or a branch predictor could learn.
pub fn values(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519))
        .map(|bits| bits as f32 / u32::MAX as f32 - 0.5)
        .collect()
}

/// The same as bytes.
pub fn bytes(count: usize, seed: u32) -> Vec<u8> {
    values(count, seed).into_iter().map(|x| (x * 255.0 + 127.5) as u8).collect()
}
