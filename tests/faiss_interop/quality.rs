//! The quality recipe: what `build` tunes on a voice alone, faiss finds for another speaker, through the calls that RVC
//! makes.

use std::path::Path;

use rvc_gpu_index::Existing;
use rvc_gpu_index::cluster::KMeansParams;
use rvc_gpu_index::device::Device;
use rvc_gpu_index::factory::{IndexSpec, Metric};
use rvc_gpu_index::faiss::write_index;
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::{GroundTruth, Index, Recipe, SearchParams, Searcher};

use super::Case;
use super::faiss::{Faiss, Outcome, Setting};

/// Neighbours that RVC asks for.
const K: usize = 8;

pub fn cases() -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    for (voice, queries, factory) in [
        ("voice-sample", "query256.npy", None),
        ("voice-sample-v2", "query768.npy", None),
        ("voice-sample-v2", "query768.npy", Some("IVF20,PQx4fs,RFlat")),
    ] {
        let name = format!("quality/{voice}/{}", factory.unwrap_or("default"));
        cases.push((name, Box::new(move |faiss| finds_nearly_all(faiss, voice, queries, factory))));
    }
    for factory in ["IVF20,Flat", "IVF20,PQx4fs,RFlat"] {
        cases.push((format!("quality/cheapest/{factory}"), Box::new(move |faiss| finds_as_much(faiss, factory))));
    }
    cases
}

fn finds_nearly_all(faiss: &Faiss, voice: &str, queries: &str, factory: Option<&str>) -> Outcome {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(voice);
    let (voice, queries) = (NpyFiles::open(&[&data])?, NpyFiles::open(&[data.join(queries)])?);
    let [rows, asked] = [&voice, &queries].map(read_all);
    let (rows, asked, dim, device) = (rows?, asked?, voice.dim(), Device::cpu());
    let spec: IndexSpec = factory.map_or_else(|| Ok(Recipe::Quality.spec(voice.rows())), str::parse)?;
    let mut index = Index::new(&spec, Metric::L2, dim)?;
    index.train(&device, &voice, &KMeansParams::default(), &mut |_| ())?;
    index.add(&device, &voice, None, &mut |_| ())?;
    let tuned = index.tune(&device, &SearchParams::default(), 1234, None, |_| ())?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("quality.index");
    write_index(&index, &file, Existing::Keep)?;
    let (described, theirs) = faiss.describe(&file)?;
    if !rows.iter().map(|x| x.to_bits()).eq(theirs.iter().map(|x| x.to_bits())) {
        return Err("faiss reconstructs other rows than the voice has".into());
    }
    if described["k_factor"] != f64::from(tuned.k_factor)
        || described["nprobe"].as_u64() != tuned.nprobe.map(|n| n as u64)
    {
        return Err(format!("faiss reads {described} where {tuned:?} was written").into());
    }
    let setting = Setting { k: K, nprobe: tuned.nprobe.unwrap_or(1), k_factor: tuned.k_factor as usize };
    let found = faiss.search(&file, &asked, dim, &[setting])?.remove(0);
    let mut hits = 0;
    for (query, found) in asked.chunks_exact(dim).zip(found.ids.chunks_exact(K)) {
        hits += nearest(&rows, query).iter().filter(|id| found.contains(id)).count();
    }
    let recall = hits as f64 / (queries.rows() * K) as f64;
    if recall < 0.99 { Err(format!("{recall} of the neighbours are found, {tuned:?}").into()) } else { Ok(()) }
}

/// The cheapest setting for a recall is what faiss searches by, and finds the same share with.
fn finds_as_much(faiss: &Faiss, factory: &str) -> Outcome {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voice-sample");
    let (voice, queries) = (NpyFiles::open(&[&data])?, NpyFiles::open(&[data.join("query256.npy")])?);
    let mut index = Index::new(&factory.parse::<IndexSpec>()?, Metric::L2, voice.dim())?;
    index.train(&Device::cpu(), &voice, &KMeansParams::default(), &mut |_| ())?;
    index.add(&Device::cpu(), &voice, None, &mut |_| ())?;
    let searcher = Searcher::new(index.clone(), &Device::cpu())?;
    let truth = GroundTruth::new(&searcher, &queries, None, K, None, |_| ())?;
    let chosen = searcher.cheapest(&truth, 0.9)?.chosen;
    let nprobe = chosen.nprobe.ok_or("an index with lists has no nprobe")?;
    index.set_nprobe(nprobe)?;
    chosen.k_factor.map_or(Ok(()), |factor| index.set_k_factor(factor))?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tuned.index");
    write_index(&index, &file, Existing::Keep)?;
    let (described, _) = faiss.describe(&file)?;
    if described["nprobe"] != nprobe || described["k_factor"].as_f64() != chosen.k_factor.map(f64::from) {
        return Err(format!("faiss reads {described} where {chosen:?} was written").into());
    }
    let setting = Setting { k: K, nprobe, k_factor: chosen.k_factor.unwrap_or(1.0) as usize };
    let recall = truth.judge(&faiss.search(&file, truth.queries(), voice.dim(), &[setting])?[0])?.recall;
    let off = (recall - chosen.quality.recall).abs();
    if recall < 0.89 || off > 0.002 { Err(format!("faiss finds {recall}, {chosen:?}").into()) } else { Ok(()) }
}

fn read_all(source: &NpyFiles) -> Outcome<Vec<f32>> {
    let mut rows = vec![0.0; source.rows() * source.dim()];
    source.read(0, &mut rows)?;
    Ok(rows)
}

/// Row numbers in the order of their distances in float64.
fn nearest(rows: &[f32], query: &[f32]) -> Vec<i64> {
    let difference = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let distance = |row: &[f32]| row.iter().zip(query).map(difference).sum::<f64>();
    let mut order: Vec<(f64, i64)> = rows.chunks_exact(query.len()).map(distance).zip(0..).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    order[..K].iter().map(|&(_, id)| id).collect()
}
