//! The conformance cases: every stage on a device, against plain float64 arithmetic.
//!
//! Tests run them on the drivers of a development machine; `rvc-gpu-index selftest` runs the same ones on a user's.

mod blend;
mod bounds;
mod centroid_means;
mod centroid_table;
mod centroid_update;
mod codebooks;
mod compare;
mod distance_subset;
mod exact_topk;
mod fast_scan;
mod l2_normalize;
mod list_ranges;
mod lookup_tables;
mod nearest_centroid;
mod nearest_probes;
mod oracle;
mod pq_encode;
mod pq_update;
mod select_topk;
mod sketch;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// Why a case fails.
struct Failed(String);

impl<M: ToString> From<M> for Failed {
    fn from(message: M) -> Self {
        Self(message.to_string())
    }
}

type Run = Box<dyn Fn(&Device) -> Result<(), Failed> + Send + Sync>;
/// A case as its stage lists it: its name, and what it does on a device.
type Listed = (String, Run);

/// A stage and its cases.
type Stage = (&'static str, fn() -> Vec<Listed>);

/// In the order of a build and then of a search.
const STAGES: [Stage; 19] = [
    ("nearest_centroid", nearest_centroid::cases),
    ("nearest_probes", nearest_probes::cases),
    ("sketch", sketch::cases),
    ("bounds", bounds::cases),
    ("compare", compare::cases),
    ("centroid_update", centroid_update::cases),
    ("centroid_means", centroid_means::cases),
    ("centroid_table", centroid_table::cases),
    ("list_ranges", list_ranges::cases),
    ("exact_topk", exact_topk::cases),
    ("lookup_tables", lookup_tables::cases),
    ("fast_scan", fast_scan::cases),
    ("select_topk", select_topk::cases),
    ("codebooks", codebooks::cases),
    ("pq_encode", pq_encode::cases),
    ("pq_update", pq_update::cases),
    ("distance_subset", distance_subset::cases),
    ("l2_normalize", l2_normalize::cases),
    ("blend", blend::cases),
];

/// A conformance case: a stage on values and shapes of its own.
pub struct Case {
    stage: &'static str,
    name: String,
    run: Run,
}

/// A case that a device computed wrong. Another device computes on the same values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCase {
    /// The stage, as its shader is named.
    pub stage: String,
    /// The case's name among those of its stage, with its shape where that is what it is about.
    pub case: String,
    /// What it computed on: shapes and seeds, in words.
    pub values: String,
    /// What came out, and what should have.
    pub message: String,
}

/// How a stage did on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The stage, as its shader is named.
    pub stage: String,
    /// Cases that the device computed right.
    pub passed: usize,
    /// Cases that it computed wrong.
    pub failed: usize,
    /// The first of these.
    pub first_failure: Option<FailedCase>,
}

impl Case {
    /// The stage, as its shader is named.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// The name among the cases of the stage.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stage and name: `nearest_centroid::l2_129x128`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.stage, self.name)
    }

    /// Computes the case on a device.
    ///
    /// # Errors
    /// What the device got wrong, or the error that it failed with.
    pub fn run(&self, device: &Device) -> Result<(), FailedCase> {
        oracle::drawn();
        // A driver's panic is a verdict, too.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(device)));
        let Failed(message) = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failed)) => failed,
            Err(panic) => panic.downcast_ref::<String>().map_or("it panicked", String::as_str).into(),
        };
        let (stage, case, values) = (self.stage.to_string(), self.name.clone(), oracle::drawn());
        Err(FailedCase { stage, case, values, message })
    }
}

/// All cases, stage by stage.
pub fn cases() -> Vec<Case> {
    let of_stage = |(stage, list): Stage| list().into_iter().map(move |(name, run)| Case { stage, name, run });
    STAGES.into_iter().flat_map(of_stage).collect()
}

/// Runs `cases` on a device, one after the other: a verdict a stage. `progress` is told how many are done.
pub fn selftest(device: &Device, cases: &[Case], mut progress: impl FnMut(usize)) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (case, done) in cases.iter().zip(1..) {
        if verdicts.last().is_none_or(|last| last.stage != case.stage) {
            verdicts.push(Verdict { stage: case.stage.into(), passed: 0, failed: 0, first_failure: None });
        }
        let outcome = case.run(device);
        if let Some(verdict) = verdicts.last_mut() {
            verdict.passed += usize::from(outcome.is_ok());
            verdict.failed += usize::from(outcome.is_err());
            verdict.first_failure = verdict.first_failure.take().or(outcome.err());
        }
        progress(done);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::broken;

    #[test]
    fn a_kernel_that_computes_wrong_is_named_with_its_case() {
        let Ok(device) = Device::gpu("llvmpipe/vulkan") else {
            eprintln!("no llvmpipe here: no kernel was broken");
            return;
        };
        let of_two: Vec<Case> =
            cases().into_iter().filter(|case| ["l2_normalize", "select_topk"].contains(&case.stage)).collect();
        broken::SWAP.set(Some(("l2_normalize", "sqrt(shared_sum[0])", "shared_sum[0]")));
        let verdicts = selftest(&device, &of_two, |_| ());
        broken::SWAP.set(None);
        let [select, normalize] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!((&*select.stage, select.failed, &select.first_failure), ("select_topk", 0, &None));
        let failure = normalize.first_failure.as_ref().expect("unit vectors have the wrong length");
        assert_eq!((&*normalize.stage, &*failure.stage), ("l2_normalize", "l2_normalize"));
        assert!(of_two.iter().any(|case| case.name() == failure.case), "{failure:?}");
        assert!(failure.values.contains("of seed"), "{failure:?}");
        let again = of_two.iter().find(|case| case.name() == failure.case).expect("it was found above");
        assert_eq!(again.run(&Device::gpu("llvmpipe/vulkan").expect("it was here")), Ok(()));
    }

    #[test]
    fn the_cpu_engine_passes_and_every_case_has_a_path_of_its_own() {
        let cases = cases();
        let mut paths: Vec<String> = cases.iter().map(Case::path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), cases.len());
        let mut done = 0;
        let verdicts = selftest(&Device::cpu(), &cases, |now| done = now);
        assert_eq!(done, cases.len());
        assert_eq!(verdicts.iter().map(|verdict| verdict.passed).sum::<usize>(), cases.len(), "{verdicts:#?}");
        assert_eq!(verdicts.len(), STAGES.len());
    }
}
