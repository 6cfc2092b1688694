//! What may use what. The library is layered; the command is a crate of its own and sees the public API alone.

use super::{LAYERS, Source, WITHOUT_WGPU, assert_none, sources, words};

/// Files of `src/` with their rooms; `lib.rs` is the hallway and has none.
fn rooms() -> Vec<(String, Source)> {
    let room = |source: Source| match source.path.split(['/', '.']).nth(1)? {
        "lib" => None,
        "main" => Some(("cli".to_string(), source)),
        room => Some((room.to_string(), source)),
    };
    sources("src", "rs").into_iter().filter_map(room).collect()
}

#[test]
fn rooms_use_the_layers_above_them() {
    let mut breaches = Vec::new();
    for (room, source) in rooms() {
        let Some(layer) = LAYERS.iter().position(|layer| layer.contains(&room.as_str())) else {
            breaches.push(format!("{}: `{room}` is in no layer", source.path));
            continue;
        };
        let open = if room == "cli" { vec!["cli"] } else { LAYERS[..=layer].concat() };
        for (number, code) in source.code() {
            let closed = uses(&code, depth(&source.path)).into_iter().filter(|used| !open.contains(used));
            breaches.extend(closed.map(|used| format!("{}:{number}: `{room}` uses `{used}`: {code}", source.path)));
        }
    }
    assert_none(&breaches);
}

#[test]
fn the_library_and_the_command_share_no_module() {
    let mut breaches = Vec::new();
    for source in sources("src", "rs").iter().filter(|source| ["src/lib.rs", "src/main.rs"].contains(&&*source.path)) {
        let of_command = source.path == "src/main.rs";
        for (number, code) in source.code().filter(|(_, code)| code.trim_end().ends_with(';')) {
            let declared = words(&code).skip_while(|word| *word != "mod").nth(1);
            if declared.is_some_and(|module| (module == "cli") != of_command) {
                breaches.push(format!("{}:{number}: {code}", source.path));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn wgpu_stays_in_its_rooms() {
    let mut breaches = Vec::new();
    for (room, source) in rooms().iter().filter(|(room, _)| WITHOUT_WGPU.contains(&room.as_str())) {
        let lines = source.code().filter(|(_, code)| words(code).any(|word| word == "wgpu"));
        breaches.extend(lines.map(|(number, _)| format!("{}:{number}: `{room}` knows wgpu", source.path)));
    }
    assert_none(&breaches);
}

/// How many `super`s lead from a file's module to the crate's root.
fn depth(path: &str) -> usize {
    path.trim_start_matches("src/").trim_end_matches("/mod.rs").split('/').count()
}

/// What a line of code takes from the crate's root, by `crate::` or by enough `super::`. What is reached by `crate::`
/// must be a room: a re-export or a group would hide which.
fn uses(code: &str, depth: usize) -> Vec<&str> {
    let by_crate = code.split("crate::").skip(1).map(first_name);
    let to_root = "super::".repeat(depth);
    let by_super = code.match_indices(&to_root).filter_map(|(at, _)| {
        let name = first_name(code[at..].trim_start_matches("super::"));
        LAYERS.concat().into_iter().find(|room| *room == name)
    });
    by_crate.chain(by_super).collect()
}

fn first_name(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

#[test]
fn uses_are_found() {
    assert_eq!(uses("use crate::index::{Index, IndexKind};", 1), ["index"]);
    assert_eq!(uses("use crate::{error, index};", 1), [""]);
    assert_eq!(uses("use super::super::index::Index;", 2), ["index"]);
    assert_eq!(uses("use super::index::Index;", 2), [""; 0]);
    assert_eq!(["src/error.rs", "src/device/mod.rs", "src/device/gpu/mod.rs"].map(depth), [1, 1, 2]);
}
