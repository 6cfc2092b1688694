//! The machine that a run is on.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::bench::HostInfo;

pub(super) fn host_info() -> HostInfo {
    let kinds = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(kinds);
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_string());
    HostInfo {
        os: std::env::consts::OS.into(),
        os_version: System::long_os_version(),
        cpu: cpu.filter(|name| !name.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.into()),
        threads: rayon::current_num_threads(),
        memory: system.total_memory(),
    }
}
