//! RVC's blend, by its formula in float64 and the rules for where that is no number.

use std::sync::Arc;

use super::Failed;
use crate::device::{BlendOutcome, Device, RowFormat, TopK};
use crate::features::MemoryRows;

use super::Listed;
use super::oracle::{DIMS, ensure, kept, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for format in [RowFormat::F32, RowFormat::F16] {
        for dim in DIMS {
            cases.push((format!("{format:?}_d{dim}"), Box::new(move |d| random_frames(d, format, (9, dim, 8), 2.0))));
        }
    }
    for (frames, k) in [(0, 3), (1, 1), (78, 8), (3, 63), (3, 64), (3, 65), (2, 1024)] {
        let name = format!("{frames}_frames_k{k}");
        cases.push((name, Box::new(move |d| random_frames(d, RowFormat::F32, (frames, 12, k), 2.0))));
    }
    for power in [0.5, 1.0, 3.0, 7.25] {
        cases.push((format!("power_{power}"), Box::new(move |d| random_frames(d, RowFormat::F32, (9, 12, 8), power))));
    }
    cases.push(("rules".into(), Box::new(rules)));
    cases.push(("scores_of_any_size".into(), Box::new(scores_of_any_size)));
    cases.push(("no_rows".into(), Box::new(no_rows)));
    cases.push(("rows_spread_over_buffers".into(), Box::new(spread)));
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

/// The formula, for scores above 0.
fn rvc(frame: &[f32], near: &[(&[f32], f32)], rate: f32, power: f32) -> Vec<f64> {
    let weights: Vec<f64> = near.iter().map(|(_, score)| (1.0 / f64::from(*score)).powf(power.into())).collect();
    let sum: f64 = weights.iter().sum();
    let blended = |i: usize| {
        let drawn: f64 = near.iter().zip(&weights).map(|((row, _), weight)| weight / sum * f64::from(row[i])).sum();
        f64::from(rate) * drawn + (1.0 - f64::from(rate)) * f64::from(frame[i])
    };
    (0..frame.len()).map(blended).collect()
}

fn random_frames(
    device: &Device,
    format: RowFormat,
    (frames, dim, k): (usize, usize, usize),
    power: f32,
) -> Result<(), Failed> {
    let (rows, rate) = (50, 0.75);
    let (x, y) = (random(frames * dim, 5), random(rows * dim, 6));
    let set = device.row_set_of(&MemoryRows::new(&y, dim)?, format)?;
    let kept = kept(&y, format);
    let neighbors: Vec<u32> =
        (0..frames * k).map(|i| if i % 4 == 2 { TopK::NONE } else { (i * 31 % rows) as u32 }).collect();
    let scores: Vec<f32> = random(frames * k, 7).iter().map(|x| 1.2 + x).collect();
    let blended = device.blend(&device.upload(&x, dim)?, &set, &neighbors, &scores, rate, power)?;
    ensure(blended.rows.len() == x.len() && blended.outcomes.len() == frames, || "wrong size".into())?;
    for (i, (frame, found)) in x.chunks(dim).zip(blended.rows.chunks(dim)).enumerate() {
        let near: Vec<_> = (i * k..(i + 1) * k)
            .filter(|&slot| neighbors[slot] != TopK::NONE)
            .map(|slot| (&kept[neighbors[slot] as usize * dim..][..dim], scores[slot]))
            .collect();
        ensure(blended.outcomes[i] == BlendOutcome::Blended, || format!("frame {i} is not blended"))?;
        for (&found, expected) in found.iter().zip(rvc(frame, &near, rate, power)) {
            let off = (f64::from(found) - expected).abs();
            ensure(off <= 1e-5 * expected.abs().max(1.0), || format!("frame {i}: {found}, expected {expected}"))?;
        }
    }
    Ok(())
}

/// What RVC has no number for.
fn rules(device: &Device) -> Result<(), Failed> {
    const NONE: u32 = TopK::NONE;
    let set = device.row_set(&Arc::new(vec![1.0, 2.0, 3.0, 6.0, -1.0, 0.0]), 2)?;
    let frames = [
        [0.0, 0.0],
        [f32::NAN, 7.0],
        [4.0, f32::NEG_INFINITY],
        [5.0, 5.0],
        [8.0, 0.0],
        [8.0, -0.0],
        [f32::MAX, f32::MIN],
        [0.0, 4.0],
    ];
    let neighbors = [[0, 1], [0, 1], [NONE, NONE], [NONE, NONE], [2, 1], [0, 1], [0, NONE], [NONE, 1]];
    let far = f32::INFINITY;
    let scores = [[0.0, 3.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [-0.5, 1.0], [far, 1.0], [0.0, 4.0]];
    let frames_there = device.upload(frames.as_flattened(), 2)?;
    let blended = device.blend(&frames_there, &set, neighbors.as_flattened(), scores.as_flattened(), 0.5, 2.0)?;
    use BlendOutcome::{Blended, PassedThrough, WithoutNeighbors};
    let outcomes =
        [Blended, PassedThrough, PassedThrough, WithoutNeighbors, Blended, Blended, WithoutNeighbors, Blended];
    ensure(blended.outcomes == outcomes, || format!("{:?}", blended.outcomes))?;
    let expected = [
        // An exact hit takes all.
        [0.5, 1.0],
        frames[1],
        frames[2],
        frames[3],
        // Two exact hits share it: the mean of (−1, 0) and (3, 6).
        [4.5, 1.5],
        [4.5, 1.0],
        frames[6],
        [1.5, 5.0],
    ];
    let bits = |rows: &[f32]| rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    ensure(bits(&blended.rows) == bits(expected.as_flattened()), || format!("{:?}", blended.rows))
}

/// Weights depend on ratios of scores alone, whose squares may be no floats.
fn scores_of_any_size(device: &Device) -> Result<(), Failed> {
    let set = device.row_set(&Arc::new(vec![10.0, 20.0]), 1)?;
    let scores = [[1e-30f32, 2e-30], [1e30, 2e30], [3e38, 3e38], [1e-30, 1e30]];
    let frames = device.upload(&[0.0; 4], 1)?;
    let blended = device.blend(&frames, &set, &[0, 1, 0, 1, 0, 1, 0, 1], scores.as_flattened(), 1.0, 2.0)?;
    for (found, expected) in blended.rows.iter().zip([12.0f32, 12.0, 15.0, 10.0]) {
        ensure((found - expected).abs() < 1e-4, || format!("{:?}", blended.rows))?;
    }
    Ok(())
}

fn no_rows(device: &Device) -> Result<(), Failed> {
    let set = device.row_set(&Arc::new(Vec::new()), 3)?;
    let frames = device.upload(&[1.0, 2.0, 3.0], 3)?;
    for neighbors in [&[][..], &[TopK::NONE; 2]] {
        let blended = device.blend(&frames, &set, neighbors, &vec![1.0; neighbors.len()], 0.5, 2.0)?;
        ensure(blended.rows == [1.0, 2.0, 3.0], || format!("{:?}", blended.rows))?;
        ensure(blended.outcomes == [BlendOutcome::WithoutNeighbors], || format!("{:?}", blended.outcomes))?;
    }
    Ok(())
}

/// More rows than the smallest binding (128 MiB) holds, with neighbours on both sides of the seam.
fn spread(device: &Device) -> Result<(), Failed> {
    let seam = (128 << 20) / (64 * 4);
    let rows = Arc::new(random((seam + 5) * 64, 44));
    let set = device.row_set(&rows, 64)?;
    let frame = random(64, 45);
    let (neighbors, scores) = ([seam as u32 - 1, 3, seam as u32 + 4], [1.0, 2.0, 1.5]);
    let near: Vec<_> = neighbors.iter().map(|&n| &rows[n as usize * 64..][..64]).zip(scores).collect();
    let blended = device.blend(&device.upload(&frame, 64)?, &set, &neighbors, &scores, 0.6, 2.0)?;
    for (&found, expected) in blended.rows.iter().zip(rvc(&frame, &near, 0.6, 2.0)) {
        ensure((f64::from(found) - expected).abs() < 1e-5, || format!("{found}, expected {expected}"))?;
    }
    Ok(())
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    let set = device.row_set(&Arc::new(random(40, 1)), 4)?;
    let frames = device.upload(&random(8, 2), 4)?;
    let blend = |neighbors: &[u32], scores: &[f32], rate, power| {
        device.blend(&frames, &set, neighbors, scores, rate, power).map(drop)
    };
    blend(&[0, 9], &[1.0; 2], 1.0, 1.0)?;
    for (neighbors, scores, rate, power) in [
        (&[0, 10][..], &[1.0; 2][..], 0.5, 2.0),
        (&[0, 1, 2], &[1.0; 3], 0.5, 2.0),
        (&[0, 1], &[1.0; 3], 0.5, 2.0),
        (&[0, 1], &[1.0; 2], 1.5, 2.0),
        (&[0, 1], &[1.0; 2], f32::NAN, 2.0),
        (&[0, 1], &[1.0; 2], 0.5, 0.0),
        (&[0, 1], &[1.0; 2], 0.5, f32::INFINITY),
    ] {
        let taken = || format!("{neighbors:?} {scores:?} {rate} {power} was taken");
        ensure(blend(neighbors, scores, rate, power).is_err(), taken)?;
    }
    Ok(())
}
