//! One stage, four homes, one name: shader, launcher, CPU twin and conformance test.

use std::collections::BTreeSet;

use super::{HOMES, PRUNING, assert_none, sources};

/// Stages that stand in a folder itself; folders in it hold shared parts.
fn stages(folder: &str, extension: &str, others: &[&str]) -> BTreeSet<String> {
    sources(folder, extension)
        .iter()
        .filter_map(|source| source.path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(extension))
        .map(|file| file.trim_end_matches('.'))
        .filter(|stem| !stem.contains('/') && !others.contains(stem))
        .map(str::to_string)
        .collect()
}

#[test]
fn every_stage_has_four_homes() {
    let homes = HOMES.map(|(folder, extension, others)| (folder, extension, stages(folder, extension, others)));
    let all: BTreeSet<&String> = homes.iter().flat_map(|(_, _, stages)| stages).collect();
    let mut breaches = Vec::new();
    for stage in all {
        let (there, missing): (Vec<_>, Vec<_>) = homes.iter().partition(|(_, _, stages)| stages.contains(stage));
        let elsewhere = |folder: &str| folder == "src/device/cpu" && PRUNING.contains(&stage.as_str());
        for (folder, extension, _) in missing.into_iter().filter(|(folder, ..)| !elsewhere(folder)) {
            breaches.push(format!("{folder}/{stage}.{extension} is missing: {stage} is in {}", there[0].0));
        }
    }
    assert_none(&breaches);
}
