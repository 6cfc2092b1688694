//! Sub-vectors, squared errors and counts added to the sums of their codes.

use super::Failed;
use crate::device::{Device, HostSums, PQ_CENTROIDS};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{close, distance, ensure, random};
use super::pq_encode::{ROWS, SHAPES};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for (m, dsub) in SHAPES {
        cases.push((format!("m{m}_dsub{dsub}"), Box::new(move |device| check(device, &[300], m, dsub))));
    }
    for rows in ROWS {
        cases.push((format!("{rows}_rows"), Box::new(move |device| check(device, &[rows], 37, 2))));
    }
    cases.push(("batches_add_up".into(), Box::new(|device| check(device, &[500, 0, 1, 1500], 9, 3))));
    cases.push(("equal_rows".into(), Box::new(equal_rows)));
    cases.push(("one_input_one_result".into(), Box::new(repeats)));
    cases
}

/// The sums of all batches, and each batch's codes.
fn update(
    device: &Device,
    batches: &[Vec<f32>],
    centroids: &[f32],
    m: usize,
) -> Result<(HostSums, Vec<Vec<u32>>), Failed> {
    let codebooks = device.codebooks(centroids, m)?;
    let mut sums = device.cluster_sums(m * PQ_CENTROIDS, codebooks.dsub())?;
    let mut all_codes = Vec::new();
    for batch in batches {
        let rows = device.upload(batch, codebooks.dim())?;
        let codes = device.pq_encode(&rows, &codebooks, None)?;
        device.pq_update(&rows, &codes, &codebooks, &mut sums)?;
        all_codes.push(device.download(&codes)?);
    }
    Ok((device.download_sums(&sums)?, all_codes))
}

fn check(device: &Device, batches: &[usize], m: usize, dsub: usize) -> Result<(), Failed> {
    let centroids = random(m * PQ_CENTROIDS * dsub, 50);
    let batches: Vec<_> = batches.iter().zip(51..).map(|(&rows, seed)| random(rows * m * dsub, seed)).collect();
    check_rows(device, &batches, &centroids, m, dsub)
}

/// The codes are the device's own, checked elsewhere; the sums are added up here in float64.
fn check_rows(device: &Device, batches: &[Vec<f32>], centroids: &[f32], m: usize, dsub: usize) -> Result<(), Failed> {
    let (found, codes) = update(device, batches, centroids, m)?;
    let clusters = m * PQ_CENTROIDS;
    let (mut sums, mut counts, mut costs) = (vec![0.0f64; clusters * dsub], vec![0u32; clusters], vec![0.0; clusters]);
    for (batch, codes) in batches.iter().zip(&codes) {
        for (row, words) in batch.chunks(m * dsub).zip(codes.chunks(m.div_ceil(8))) {
            for (sub, x) in row.chunks(dsub).enumerate() {
                let at = sub * PQ_CENTROIDS + (words[sub / 8] >> (4 * (sub % 8)) & 15) as usize;
                x.iter().zip(&mut sums[at * dsub..]).for_each(|(&x, sum)| *sum += f64::from(x));
                counts[at] += 1;
                costs[at] += distance(Metric::L2, x, &centroids[at * dsub..][..dsub]);
            }
        }
    }
    ensure(found.counts == counts, || format!("counts {:?}, expected {counts:?}", found.counts))?;
    ensure(found.sums.len() == sums.len(), || format!("{} sums", found.sums.len()))?;
    for (i, (&found, &expected)) in found.sums.iter().zip(&sums).enumerate() {
        close(found, expected, 1e-6 * f64::from(counts[i / dsub]), || format!("sum {i}"))?;
    }
    for (i, (&found, &expected)) in found.costs.iter().zip(&costs).enumerate() {
        close(found, expected, 1e-6 * f64::from(counts[i]), || format!("cost {i}"))?;
    }
    Ok(())
}

fn equal_rows(device: &Device) -> Result<(), Failed> {
    let (m, dsub) = (12, 4);
    let rows = random(m * dsub, 60).repeat(400);
    check_rows(device, &[rows], &random(m * PQ_CENTROIDS * dsub, 61), m, dsub)
}

fn repeats(device: &Device) -> Result<(), Failed> {
    let (centroids, batches) = (random(32 * PQ_CENTROIDS * 2, 62), vec![random(3000 * 64, 63)]);
    let (first, _) = update(device, &batches, &centroids, 32)?;
    for _ in 0..3 {
        let (again, _) = update(device, &batches, &centroids, 32)?;
        let bits = |sums: &HostSums| sums.sums.iter().chain(&sums.costs).map(|v| v.to_bits()).collect::<Vec<_>>();
        ensure(bits(&first) == bits(&again) && first.counts == again.counts, || "two runs differ".into())?;
    }
    Ok(())
}
