//! The rules of the house: where things stand, what may use what, and what every shader keeps to. They stand here once;
//! the modules hold them against the sources.

mod files;
mod graph;
mod homes;
mod layers;
mod locks;
mod shaders;

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, a layer a line. A room uses its own layer and those above it.
const LAYERS: [&[&str]; 6] = [
    &["error", "memory", "output", "factory", "features"],
    &["device"],
    &["cluster", "selftest"],
    &["index", "faiss"],
    &["retrieval", "bench"],
    &["cli"],
];

/// Rooms that know no wgpu.
const WITHOUT_WGPU: [&str; 6] = ["error", "memory", "output", "factory", "features", "faiss"];

/// Where each stage stands: folder, extension, and the files there that are no stage.
const HOMES: [(&str, &str, &[&str]); 4] = [
    ("shaders", "wgsl", &[]),
    (
        "src/device/gpu",
        "rs",
        &[
            "mod",
            "kernel",
            "candidates",
            "pending",
            "recording",
            "autotune",
            "cache",
            "pipeline_cache",
            "pipelines",
            "matrices",
            "rows",
            "stopwatch",
            "tasks",
            "tiles",
        ],
    ),
    ("src/device/cpu", "rs", &["mod", "block_sums", "smallest", "workspace"]),
    ("src/selftest", "rs", &["mod", "oracle"]),
];

/// Stages on a GPU alone: what stands for them on the CPU engine is one room, `cpu/pruning`.
const PRUNING: [&str; 3] = ["bounds", "compare", "sketch"];

/// The files that may say `unsafe`.
const UNSAFE: [&str; 9] = [
    "src/device/cpu/pruning/amx.rs",
    "src/device/cpu/block_sums.rs",
    "src/device/cpu/pruning/byte_products.rs",
    "src/device/gpu/matrices.rs",
    "src/device/gpu/pipeline_cache.rs",
    "src/index/mapped_floats.rs",
    "src/main.rs",
    "src/memory/limits.rs",
    "tests/kernel_stats/radv.rs",
];

/// The files that hold a lock, a cell or a thread's workspace while other code runs, and what that is: never work for a
/// thread pool.
const HOLDERS: [(&str, &str); 11] = [
    ("src/device/cpu/pruning/amx.rs", "asks the processor"),
    ("src/device/cpu/block_sums.rs", "asks the processor"),
    ("src/device/cpu/pruning/byte_products.rs", "asks the processor"),
    ("src/device/simd/mod.rs", "asks the processor"),
    ("src/device/cpu/lookup_tables.rs", "a query's tables, on one thread"),
    ("src/device/cpu/workspace.rs", "what `Workspace::with` is given, on one thread"),
    ("src/index/refine.rs", "a query's re-ranking, on one thread"),
    ("src/device/pool.rs", "threads are started"),
    ("src/device/gpu/mod.rs", "a queue of submissions, popped and pushed"),
    ("src/device/gpu/pipelines.rs", "a file is read"),
    ("src/selftest/oracle.rs", "a line is kept"),
];

/// A smell, not a law: an idea is a file.
const MAX_LINES: usize = 800;

/// A file of the repository.
struct Source {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Numbered lines without comments and without what stands between quotes.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().zip(1..).map(|(line, number)| {
            let unquoted: String = line.split('"').step_by(2).collect();
            let code = unquoted.split("//").next().unwrap_or_default();
            (number, code.to_string())
        })
    }
}

/// All files with an extension under a folder, at any depth.
fn sources(folder: &str, extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let (inner, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        folders.extend(inner);
        found.extend(files.into_iter().filter(|file| file.extension().is_some_and(|e| e == extension)));
    }
    found.sort();
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).expect("lies under the root").to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(&file).expect("a source file is readable text"),
    };
    found.into_iter().map(source).collect()
}

/// Words of a line of code: identifiers and keywords.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Fails with every breach of a rule, one a line.
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}
