//! Which instructions the CPU engine uses: the widest that the machine has, or what `RVC_GPU_INDEX_SIMD` limits it to.

pub(crate) mod distance;
pub(crate) mod scores;
pub(crate) mod weighted_sum;

use std::sync::OnceLock;

use pulp::Arch;

/// Names the widest instructions that may be used: `scalar`, `avx2`, `avx512`, `vnni` or `amx`, and `scalar` or `neon` on
/// ARM. Any other value is no limit.
const LIMIT: &str = "RVC_GPU_INDEX_SIMD";

/// Instruction sets, each with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What every machine of the architecture has.
    Scalar,
    /// AVX2 and FMA, or NEON.
    V3,
    /// AVX-512.
    V4,
    /// AVX-512 with products of bytes.
    Vnni,
    /// The matrix unit.
    Amx,
}

/// Whether these instructions may be used where the machine has them.
pub(crate) fn allowed(level: Level) -> bool {
    static WIDEST: OnceLock<Level> = OnceLock::new();
    level
        <= *WIDEST.get_or_init(|| match std::env::var(LIMIT).as_deref() {
            Ok("scalar") => Level::Scalar,
            Ok("avx2" | "neon") => Level::V3,
            Ok("avx512") => Level::V4,
            Ok("vnni") => Level::Vnni,
            _ => Level::Amx,
        })
}

/// What SIMD code is dispatched by.
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match Arch::new() {
        _ if !allowed(Level::V3) => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) if !allowed(Level::V4) => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        arch => arch,
    })
}

/// Runs a unit test again in a process of its own for every instruction set that this machine has, as `RVC_GPU_INDEX_SIMD`
/// limits it.
#[cfg(test)]
pub(super) fn on_every_instruction_set(test: &str) {
    let program = std::env::current_exe().unwrap();
    for limit in ["scalar", "avx2", "neon", "avx512", "vnni", "amx"] {
        let mut command = std::process::Command::new(&program);
        let output = command.args(["--exact", test, "--nocapture", "--ignored"]).env(LIMIT, limit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{limit}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
