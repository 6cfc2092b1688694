//! Numbers to test with.

/// Reproducible values in −5..5 (a 64-bit linear congruential generator).
pub fn random(count: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 * 10.0 - 5.0
    };
    (0..count).map(|_| next()).collect()
}
