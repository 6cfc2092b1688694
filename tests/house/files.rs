//! Files stay short enough to be read whole, and `unsafe` stays where it is looked for.

use super::{MAX_LINES, Source, UNSAFE, assert_none, sources, words};

fn every_source() -> Vec<Source> {
    let rust = ["src", "tests", "benches", "examples", "fuzz/src", "fuzz/fuzz_targets"].map(|folder| (folder, "rs"));
    let all = rust.into_iter().chain([("shaders", "wgsl")]);
    all.flat_map(|(folder, extension)| sources(folder, extension)).collect()
}

#[test]
fn files_are_short() {
    let mut breaches = Vec::new();
    for source in every_source() {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            breaches.push(format!("{}: {lines} lines, {MAX_LINES} are allowed", source.path));
        }
    }
    assert_none(&breaches);
}

#[test]
fn unsafe_code_has_its_place() {
    let mut breaches = Vec::new();
    for source in every_source().iter().filter(|source| !UNSAFE.contains(&source.path.as_str())) {
        let lines = source.code().filter(|(_, code)| words(code).any(|word| word == "unsafe"));
        breaches.extend(lines.map(|(number, _)| format!("{}:{number}: unsafe", source.path)));
    }
    assert_none(&breaches);
}
