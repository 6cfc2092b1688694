//! Mutations of index files. libFuzzer's own seldom get past the checks of counts, which a file repeats in many places.

use std::mem::size_of;

use libfuzzer_sys::fuzzer_mutate;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const TYPES: [&[u8; 4]; 13] = [
    b"IxF2", b"IxFI", b"IwFl", b"IPfs", b"IwPf", b"IxRF", b"IxPT", b"VNrm", b"ilar", b"ilbl", b"full", b"sprs", b"il00",
];
/// Bytes behind a type that hold its header.
const HEADER: usize = 72;
/// Counts above are floats or ids that look like one.
const MAX_COUNT: u64 = 1 << 24;
const EDGES: [u64; 14] =
    [0, 1, 2, 31, 32, 33, 255, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 60, u64::MAX];
const FLOATS: [f32; 12] =
    [0.0, -0.0, 1.0, 1000.0, 1024.0, 1e-40, 1e19, 1e30, f32::MAX, f32::MIN, f32::NAN, f32::INFINITY];

/// Changes counts, fields, types and floats of an index file, or leaves it to libFuzzer.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    let changes = if size < HEADER { 0 } else { rng.random_range(0..4) };
    for _ in 0..changes {
        let file = &mut data[..size];
        match rng.random_range(0..8) {
            0 | 1 => change_count(file, &mut rng),
            2 | 3 => change_field(file, &mut rng),
            4 => change_type(file, &mut rng),
            _ => change_floats(file, &mut rng),
        }
    }
    if changes == 0 || rng.random_bool(0.25) { fuzzer_mutate(data, size, max_size) } else { size }
}

/// Gives a count another value wherever it stands, so that what repeats it still agrees.
fn change_count(file: &mut [u8], rng: &mut impl Rng) {
    let at = rng.random_range(0..=file.len() - size_of::<u64>());
    let old: [u8; 8] = file[at..][..8].try_into().expect("eight bytes");
    let count = u64::from_le_bytes(old);
    if count > MAX_COUNT {
        return;
    }
    let new = near(count, rng).to_le_bytes();
    let mut at = 0;
    while let Some(found) = file[at..].windows(8).position(|window| window == old) {
        file[at + found..][..8].copy_from_slice(&new);
        at += found + 8;
    }
}

/// Changes a number of one, four or eight bytes in a header.
fn change_field(file: &mut [u8], rng: &mut impl Rng) {
    let Some(head) = some_type(file, rng) else { return };
    let (at, width) = (head + 4 + rng.random_range(0..HEADER), [1, 4, 8][rng.random_range(0..3)]);
    let Some(field) = file.get_mut(at..at + width) else { return };
    let mut old = [0; 8];
    old[..width].copy_from_slice(field);
    field.copy_from_slice(&near(u64::from_le_bytes(old), rng).to_le_bytes()[..width]);
}

fn change_type(file: &mut [u8], rng: &mut impl Rng) {
    if let Some(head) = some_type(file, rng) {
        file[head..][..4].copy_from_slice(TYPES[rng.random_range(0..TYPES.len())]);
    }
}

fn change_floats(file: &mut [u8], rng: &mut impl Rng) {
    let (first, count) = (rng.random_range(0..file.len()), rng.random_range(1..=16));
    let float = FLOATS[rng.random_range(0..FLOATS.len())].to_le_bytes();
    for four in file[first..].as_chunks_mut().0.iter_mut().take(count) {
        *four = float;
    }
}

/// Where one of the types in a file stands.
fn some_type(file: &[u8], rng: &mut impl Rng) -> Option<usize> {
    let is_type = |bytes: &[u8]| TYPES.iter().any(|known| known[..] == *bytes);
    let heads: Vec<usize> = file.windows(4).enumerate().filter(|(_, four)| is_type(four)).map(|(at, _)| at).collect();
    (!heads.is_empty()).then(|| heads[rng.random_range(0..heads.len())])
}

/// A number close by, or one at which something begins or ends.
fn near(number: u64, rng: &mut impl Rng) -> u64 {
    match rng.random_bool(0.5) {
        true => EDGES[rng.random_range(0..EDGES.len())],
        false => number.wrapping_add(rng.random_range(0..9)).wrapping_sub(4),
    }
}
