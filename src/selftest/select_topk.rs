//! The k smallest keys of each segment: exact, bit for bit, with ties by candidate.

use super::Failed;
use crate::device::{Device, TopK};

use super::Listed;
use super::oracle::{ensure, random};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for k in [1, 2, 3, 8, 100, 255, 256, 257, 512, 1000, 1024] {
        cases.push((format!("k{k}"), Box::new(move |device| check(device, &random(9000, k as u64), k))));
    }
    cases.push(("ties".into(), Box::new(|device| check(device, &[0.5; 3000], 40))));
    cases.push((
        "falling".into(),
        Box::new(|device| check(device, &(0..5000).map(|i| -(i as f32)).collect::<Vec<_>>(), 600)),
    ));
    for k in [1, 8, 1000] {
        cases.push((format!("nan_and_infinity_k{k}"), Box::new(move |device| check(device, &with_odd_ones(), k))));
    }
    cases.push(("bad_arguments".into(), Box::new(bad_arguments)));
    cases
}

/// Every third key is NaN or infinite, and counts for none.
fn with_odd_ones() -> Vec<f32> {
    let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -f32::NAN];
    random(9000, 5).into_iter().enumerate().map(|(i, key)| if i % 3 == 1 { odd[i % 4] } else { key }).collect()
}

fn check(device: &Device, keys: &[f32], k: usize) -> Result<(), Failed> {
    let candidates: Vec<u32> = (0..keys.len() as u32).map(|i| (i * 7919) % 1_000_003).collect();
    let all = keys.len() as u32;
    let segments = [(0, 0), (0, 1), (3, 7), (10, 255), (265, 256), (521, 257), (800, 1500), (0, all), (all, 0)];
    let (top_keys, top_candidates) = device.select_topk(keys, &candidates, &segments, k)?;
    for (i, (start, length)) in segments.into_iter().enumerate() {
        let range = start as usize..(start + length) as usize;
        let mut expected: Vec<(f32, u32)> =
            keys[range.clone()].iter().copied().zip(candidates[range].iter().copied()).collect();
        expected.retain(|(key, _)| key.is_finite());
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        expected.resize(expected.len().max(k), (f32::MAX, TopK::NONE));
        let found: Vec<_> =
            top_keys[i * k..][..k].iter().copied().zip(top_candidates[i * k..][..k].iter().copied()).collect();
        let wrong = (0..k).find(|&rank| found[rank] != expected[rank]);
        ensure(wrong.is_none(), || {
            let rank = wrong.unwrap_or(0);
            format!("segment {i} rank {rank}: {:?}, expected {:?}", found[rank], expected[rank])
        })?;
    }
    Ok(())
}

fn bad_arguments(device: &Device) -> Result<(), Failed> {
    for (segment, k) in [((0, 5), 1), ((u32::MAX, u32::MAX), 1), ((0, 4), 0), ((0, 4), 1025)] {
        let taken = device.select_topk(&[1.0; 4], &[0; 4], &[segment], k).is_ok();
        ensure(!taken, || format!("{segment:?} with k {k} was taken"))?;
    }
    Ok(())
}
