//! Every kernel that must run everywhere, through the compilers that users have: Microsoft's FXC and DXC, as wgpu asks
//! them on DX12, and Google's Tint, which Chromium has. One test an entry point and compiler; a table of seconds at the
//! end.
//!
//! All three are in npm's package `webgpu`, which `scripts/test` puts into `.drivers`. Microsoft's run under wine, by a
//! program that mingw compiles (`hlslc.cpp`), and Tint in node (`tint.mjs`). Without them the tests are listed as
//! ignored, except with `CI=true`, where they fail.

mod compiler;
mod hlsl;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use naga::back::hlsl::ShaderModel;
use rvc_gpu_index::device::{GpuKernel, gpu_kernels};
use serde_json::json;

use compiler::{Compiler, Program};

/// DXC is asked for what a GPU has: from the least to what products of bytes are an instruction of.
const LANGUAGES: [(&str, Language); 4] = [
    ("fxc", Language::Hlsl(ShaderModel::V5_1)),
    ("dxc_6_0", Language::Hlsl(ShaderModel::V6_0)),
    ("dxc_6_7", Language::Hlsl(ShaderModel::V6_7)),
    ("tint", Language::Wgsl),
];

#[derive(Clone, Copy)]
enum Language {
    Hlsl(ShaderModel),
    Wgsl,
}

/// Seconds of processor time by entry point, then in the order of [`LANGUAGES`].
type Times = BTreeMap<String, [Option<f64>; LANGUAGES.len()]>;

fn main() -> ExitCode {
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    let folder = Arc::new(tempfile::tempdir().expect("a temporary folder can be made"));
    let microsoft = microsoft(folder.path()).map(|program| Arc::new(Compiler::new(program)));
    let tint = tint().map(|program| Arc::new(Compiler::new(program)));
    for reason in [&microsoft, &tint].into_iter().filter_map(|found| found.as_ref().err()) {
        eprintln!("shader compilers: {reason}");
    }
    let times = Arc::new(Mutex::new(Times::new()));
    let mut trials = Vec::new();
    for (column, (name, language)) in LANGUAGES.into_iter().enumerate() {
        let found = match language {
            Language::Hlsl(_) => &microsoft,
            Language::Wgsl => &tint,
        };
        for (kernel, entry) in entries() {
            let (found, folder, times) = (found.clone(), folder.clone(), times.clone());
            let point = format!("{}::{entry}", kernel.name);
            let ignored = found.is_err() && !ci;
            let trial = Trial::test(format!("{name}::{point}"), move || {
                let request = request(kernel, &entry, language, folder.path())?;
                let seconds = found?.ask(&request)?;
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.entry(point).or_default()[column] = Some(seconds);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    let code = libtest_mimic::run(&Arguments::from_args(), trials).exit_code();
    print(&times.lock().unwrap_or_else(PoisonError::into_inner));
    code
}

/// Every entry point but those that multiply matrices.
fn entries() -> impl Iterator<Item = (&'static GpuKernel, String)> {
    let portable = gpu_kernels().into_iter().filter(|kernel| kernel.matrices.is_none());
    portable.flat_map(|kernel| {
        let module = naga::front::wgsl::parse_str(kernel.source).expect("tests/house has it parsed");
        module.entry_points.into_iter().map(move |point| (kernel, point.name))
    })
}

/// Writes what is to be compiled, and says so in a line.
fn request(kernel: &GpuKernel, entry: &str, language: Language, folder: &Path) -> Result<String, String> {
    let write = |file: &str, source: &str| fs::write(folder.join(file), source).map_err(|error| error.to_string());
    match language {
        Language::Hlsl(model) => {
            let (source, name) = hlsl::translate(kernel, entry, model)?;
            let file = format!("{}-{entry}-{}.hlsl", kernel.name, model.to_str());
            write(&file, &source)?;
            Ok(format!("{file} {name} cs_{}", model.to_str()))
        }
        Language::Wgsl => {
            let file = format!("{}-{entry}.wgsl", kernel.name);
            write(&file, kernel.source)?;
            let bindings: Vec<_> = kernel.bindings.iter().map(|kind| format!("{kind:?}")).collect();
            let constants: BTreeMap<_, _> = kernel.constants.iter().copied().collect();
            let file = folder.join(file);
            Ok(json!({ "file": file, "entry": entry, "bindings": bindings, "constants": constants }).to_string())
        }
    }
}

/// wine with our program in `folder`, where it finds what it is to compile, too.
fn microsoft(folder: &Path) -> Result<Program, String> {
    let libraries = webgpu()?.join("dist/win32-x64");
    runs("wine")?;
    let mingw = "x86_64-w64-mingw32-g++";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shader_compilers/hlslc.cpp");
    let program = folder.join("hlslc.exe");
    let done = Command::new(mingw).args(["-O1", "-static", "-o"]).arg(&program).arg(source).output();
    let done = done.map_err(|error| format!("no {mingw} ({error}): install g++-mingw-w64-x86-64"))?;
    if !done.status.success() {
        return Err(format!("{mingw}: {}", String::from_utf8_lossy(&done.stderr)));
    }
    // Wine shows the whole file system as drive Z.
    let windows = format!("Z:{}", libraries.display());
    Ok(Program {
        line: vec!["wine".into(), program.into(), windows.into()],
        folder: folder.to_path_buf(),
        environment: vec![
            ("WINEPREFIX", drivers().join("wine").into()),
            ("WINEDEBUG", "-all".into()),
            // Microsoft's, not wine's own; and no offers to download what a new prefix lacks.
            ("WINEDLLOVERRIDES", "d3dcompiler_47,dxcompiler=n;mscoree,mshtml=".into()),
        ],
    })
}

fn tint() -> Result<Program, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shader_compilers/tint.mjs");
    let package = webgpu()?;
    runs("node")?;
    Ok(Program { line: vec!["node".into(), script.into(), package.into()], folder: drivers(), environment: Vec::new() })
}

fn drivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".drivers")
}

fn webgpu() -> Result<PathBuf, String> {
    let package = drivers().join("webgpu/node_modules/webgpu");
    if package.exists() { Ok(package) } else { Err(format!("no {}: scripts/test installs it", package.display())) }
}

/// That a program is there.
fn runs(program: &str) -> Result<(), String> {
    let done = Command::new(program).arg("--version").output();
    done.map(drop).map_err(|error| format!("no {program} ({error}): scripts/test installs it"))
}

fn print(times: &Times) {
    println!("{:<48}{}", "seconds", LANGUAGES.map(|(name, _)| format!("{name:>9}")).concat());
    for (point, seconds) in times {
        let cell = |seconds: Option<f64>| seconds.map_or("-".into(), |seconds| format!("{seconds:.2}"));
        println!("{point:<48}{}", seconds.map(|seconds| format!("{:>9}", cell(seconds))).concat());
    }
}
