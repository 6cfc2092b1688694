//! Where RVC and its like look for an experiment's index.

use std::path::PathBuf;

use crate::factory::{IndexSpec, Metric};
use crate::features::{Experiment, Layout};

/// The index files of an experiment, in its folder, under the names by which its host finds them: RVC's as below, those of
/// RVC_CLI without the voice's name, and Applio's `voice.index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RvcFiles {
    /// `trained_IVF77_Flat_nprobe_1_voice_v2.index`: the index after training, without rows. None without an IVF, which
    /// needs no training.
    pub trained: Option<PathBuf>,
    /// `added_IVF77_Flat_nprobe_1_voice_v2.index`, `added_PQ384x4fs_RFlat_kf8_voice_v2.index`: the whole index.
    pub added: PathBuf,
}

impl RvcFiles {
    /// The files for an index of `spec` that visits `nprobe` lists and re-ranks with `k_factor`, where it does so. One that
    /// compares by inner product says so, lest it take the place of RVC's own.
    pub fn new(experiment: &Experiment, spec: &IndexSpec, metric: Metric, nprobe: usize, k_factor: f32) -> Self {
        let kind = spec.to_string().replace(',', "_");
        let metric = if metric == Metric::L2 { "" } else { "_ip" };
        let nprobe = if spec.ivf.is_some() { format!("_nprobe_{nprobe}") } else { String::new() };
        let k_factor = if spec.refine { format!("_kf{k_factor}") } else { String::new() };
        let Experiment { folder, name, version, layout } = experiment;
        let name = match layout {
            Layout::Applio => return Self { trained: None, added: folder.join(format!("{name}{metric}.index")) },
            Layout::RvcCli => String::new(),
            Layout::Rvc => format!("_{name}"),
        };
        let file = |stage| folder.join(format!("{stage}_{kind}{metric}{nprobe}{k_factor}{name}_{version}.index"));
        Self { trained: spec.ivf.map(|_| file("trained")), added: file("added") }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn files_are_named_as_rvc_names_them() {
        let of = |layout| Experiment { folder: "logs/声".into(), name: "声".into(), version: "v2", layout };
        let voice = of(Layout::Rvc);
        let files = |spec: &str| RvcFiles::new(&voice, &spec.parse().unwrap(), Metric::L2, 3, 8.0);
        assert_eq!(
            files("IVF77,Flat"),
            RvcFiles {
                trained: Some("logs/声/trained_IVF77_Flat_nprobe_3_声_v2.index".into()),
                added: "logs/声/added_IVF77_Flat_nprobe_3_声_v2.index".into(),
            }
        );
        let files_of = |layout| RvcFiles::new(&of(layout), &"IVF77,Flat".parse().unwrap(), Metric::L2, 1, 1.0);
        let applio = RvcFiles { trained: None, added: "logs/声/声.index".into() };
        assert_eq!(files_of(Layout::Applio), applio);
        assert_eq!(files_of(Layout::RvcCli).added, Path::new("logs/声/added_IVF77_Flat_nprobe_1_v2.index"));
        let flat = RvcFiles { trained: None, added: "logs/声/added_L2norm_Flat_声_v2.index".into() };
        assert_eq!(files("L2norm,Flat"), flat);
        let refined = RvcFiles { trained: None, added: "logs/声/added_PQ384x4fs_RFlat_kf8_声_v2.index".into() };
        assert_eq!(files("PQ384x4fs,RFlat"), refined);
        let added = |spec: &str, k_factor| RvcFiles::new(&voice, &spec.parse().unwrap(), Metric::L2, 3, k_factor).added;
        let expected = Path::new("logs/声/added_IVF7_PQ2x4fs_RFlat_nprobe_3_kf2.5_声_v2.index");
        assert_eq!(added("IVF7,PQ2x4fs,RFlat", 2.5), expected);
        let ip = RvcFiles::new(&voice, &"L2norm,IVF77,Flat".parse().unwrap(), Metric::InnerProduct, 3, 1.0);
        assert_eq!(ip.added, Path::new("logs/声/added_L2norm_IVF77_Flat_ip_nprobe_3_声_v2.index"));
    }
}
