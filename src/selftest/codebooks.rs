//! Codebooks made of centroids on a device, as the stages that read them see them.

use super::Failed;
use crate::device::{Device, PQ_CENTROIDS, flat_codes};
use crate::factory::Metric;

use super::Listed;
use super::oracle::{ensure, random};
use super::pq_encode::{SHAPES, unpack};

pub fn cases() -> Vec<Listed> {
    let mut cases: Vec<Listed> = Vec::new();
    for (m, dsub) in SHAPES {
        cases.push((format!("m{m}_dsub{dsub}"), Box::new(move |device| own_codes(device, m, dsub))));
    }
    cases.push(("centroids_of_others".into(), Box::new(others)));
    cases
}

/// Rows made of centroids have these centroids' codes, and quantizing them leaves no error at all.
fn own_codes(device: &Device, m: usize, dsub: usize) -> Result<(), Failed> {
    let centroids = random(m * PQ_CENTROIDS * dsub, 70);
    // A row for each centroid of a sub-quantizer, of the next ones another.
    let code_of = |row: usize, sub: usize| (row + 5 * sub) % PQ_CENTROIDS;
    let part = |(row, sub)| &centroids[(sub * PQ_CENTROIDS + code_of(row, sub)) * dsub..][..dsub];
    let places = (0..PQ_CENTROIDS).flat_map(|row| (0..m).map(move |sub| (row, sub)));
    let rows: Vec<f32> = places.flat_map(part).copied().collect();

    let rows = device.upload(&rows, m * dsub)?;
    let codebooks = device.codebooks_of(&device.upload(&centroids, dsub)?, m)?;
    let words = device.pq_encode(&rows, &codebooks, None)?;
    for (row, codes) in unpack(&flat_codes(&device.download(&words)?, m), m)?.iter().enumerate() {
        let expected: Vec<_> = (0..m).map(|sub| code_of(row, sub)).collect();
        ensure(codes == &expected, || format!("row {row} has the codes {codes:?}, expected {expected:?}"))?;
    }
    let mut sums = device.cluster_sums(m * PQ_CENTROIDS, dsub)?;
    device.pq_update(&rows, &words, &codebooks, &mut sums)?;
    let costs = device.download_sums(&sums)?.costs;
    ensure(costs.iter().all(|&cost| cost == 0.0), || format!("errors {costs:?}"))?;
    // What is nearest to a query is least in its table.
    let tables = device.download_tables(&device.lookup_tables(&rows, &codebooks, Metric::L2, None)?)?;
    let entries = tables.chunks(m.next_multiple_of(2) * PQ_CENTROIDS).enumerate();
    let own = entries.flat_map(|(row, table)| (0..m).map(move |sub| table[sub * PQ_CENTROIDS + code_of(row, sub)]));
    ensure(own.clone().count() == PQ_CENTROIDS * m && own.clone().all(|entry| entry == 0), || {
        format!("own entries {:?}", own.collect::<Vec<_>>())
    })
}

fn others(device: &Device) -> Result<(), Failed> {
    let centroids = device.upload(&[0.0; 96], 3)?;
    ensure(device.codebooks_of(&centroids, 2).is_ok(), || "32 centroids were refused for 2 sub-quantizers".into())?;
    for m in [0, 1, 3, usize::MAX] {
        let made = device.codebooks_of(&centroids, m);
        ensure(made.is_err(), || format!("32 centroids were taken for {m} sub-quantizers"))?;
    }
    Ok(())
}
