//! What benchmarks measured: result files, and, with the feature `report`, one page about many of them.

#[cfg(feature = "report")]
mod plot;
#[cfg(feature = "report")]
mod report;
mod result;
#[cfg(feature = "bench")]
mod run;

#[cfg(feature = "report")]
pub use plot::{Line, Plot};
#[cfg(feature = "report")]
pub use report::Report;
pub use result::{
    BenchResult, Bound, BuildResult, Ceilings, Clock, DeviceResult, HostInfo, LiveResult, Phase, SCHEMA, SearchResult,
    Selftest, StageResult, Summary, UtcTime, Workload, percentiles,
};
#[cfg(feature = "bench")]
pub use run::{BenchParams, Loaded, bench, free_memory};
