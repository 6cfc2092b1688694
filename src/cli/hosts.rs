//! What the programs that load an index do with it, said before it is built.

use std::path::Path;

use rvc_gpu_index::factory::{Codes, IndexSpec, Metric};
use rvc_gpu_index::features::Experiment;
use rvc_gpu_index::{Error, Result};

/// Warnings about an index that is to be written to `path`. `unit_rows` says that its rows have unit length whatever
/// the index does.
///
/// # Errors
/// [`Error::Parameter`] where it lies among the indexes that RVC lists, and loading it would end RVC.
pub fn check(
    spec: &IndexSpec,
    metric: Metric,
    unit_rows: bool,
    path: &Path,
    experiment: Option<&Experiment>,
) -> Result<Vec<String>> {
    let listed = is_listed(path, experiment);
    let mut warnings = Vec::new();
    if spec.ivf.is_some() && matches!(spec.codes, Codes::PqFastScan { .. }) && !spec.refine {
        let found = format!("faiss 1.9 and later crash where they take the rows out of {spec}, as RVC does on loading");
        if listed {
            let remedy = format!("put ,RFlat behind it: {spec},RFlat, or write it to another folder with -o");
            return Err(Error::Parameter { name: "factory", found, remedy });
        }
        warnings.push(format!("{found}; for voice hosts put ,RFlat behind it"));
    }
    if listed && metric == Metric::InnerProduct {
        let weights = "hosts take inner products for distances and weigh each neighbour by (1 / inner product)²: the \
                       nearest count least; build with --metric l2";
        warnings.push(weights.into());
    }
    if listed && (unit_rows || spec.l2norm && !spec.refine) {
        let length = "rows of this index have unit length, and hosts blend them as they are: what is retrieved has a \
                      few hundredths of a frame's length; build with --metric l2, without L2norm and --expand";
        warnings.push(length.into());
    }
    if path.file_name().is_some_and(|name| name.to_string_lossy().contains("trained")) {
        let hidden = format!(
            "RVC lists no index that has \"trained\" in its name, as {} has; name the voice or the file otherwise",
            path.display()
        );
        warnings.push(hidden);
    }
    Ok(warnings)
}

/// True for the folders that RVC and its live hosts take indexes from.
fn is_listed(path: &Path, experiment: Option<&Experiment>) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return false };
    folder.ends_with("assets/indices")
        || ["3_feature256", "3_feature768"].iter().any(|features| folder.join(features).is_dir())
        || experiment.is_some_and(|experiment| experiment.folder.canonicalize().is_ok_and(|own| own == folder))
}
