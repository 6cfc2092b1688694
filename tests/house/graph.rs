//! Which file of `src/` uses which: no circle of files, inside a room or across rooms.
//!
//! A use is a path, in a `use` line or elsewhere, and leads to the file that defines what it names: `mod.rs` only passes on
//! what it re-exports. What a file takes from the module around it, which declares it, is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

use super::{Source, assert_none, sources};

/// Names from the crate's root.
type Path = Vec<String>;

/// The files of a crate by their modules, and what modules re-export.
struct Crate {
    files: BTreeMap<Path, File>,
    exports: HashMap<Path, Path>,
}

#[derive(Default)]
struct File {
    path: String,
    module: Path,
    /// Paths as they are written, and whether they are re-exports.
    uses: Vec<(Path, bool)>,
    /// What the first name of other paths stands for.
    imports: HashMap<String, Path>,
}

impl File {
    fn new(source: &Source) -> Self {
        let stem = source.path.trim_start_matches("src/").trim_end_matches(".rs");
        let names = stem.split('/').filter(|name| !["mod", "lib", "main"].contains(name));
        let mut file =
            Self { path: source.path.clone(), module: names.map(str::to_string).collect(), ..Self::default() };
        let parsed = syn::parse_file(&source.text).expect("it compiles");
        file.visit_file(&parsed);
        file
    }

    /// Takes in what a tree of names behind `start` brings.
    fn import(&mut self, start: &[String], tree: &UseTree, exported: bool) {
        let with = |name: &dyn ToString| [start, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree, exported),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(start, tree, exported)),
            UseTree::Name(name) if name.ident == "self" => self.name(start.to_vec(), None, exported),
            UseTree::Name(name) => self.name(with(&name.ident), None, exported),
            UseTree::Rename(rename) => self.name(with(&rename.ident), Some(rename.rename.to_string()), exported),
            UseTree::Glob(_) => {}
        }
    }

    fn name(&mut self, path: Path, renamed: Option<String>, exported: bool) {
        let name = renamed.or_else(|| path.last().cloned()).unwrap_or_default();
        self.imports.insert(name, path.clone());
        self.uses.push((path, exported));
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&[], &item.tree, !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.uses.push((path.segments.iter().map(|segment| segment.ident.to_string()).collect(), false));
        }
        visit::visit_path(self, path);
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
}

impl Crate {
    fn new(sources: &[Source]) -> Self {
        let files = sources.iter().map(File::new).map(|file| (file.module.clone(), file)).collect();
        let mut all = Self { files, exports: HashMap::new() };
        let mut exports = HashMap::new();
        for file in all.files.values() {
            for (name, path) in &file.imports {
                let exported = file.uses.iter().any(|(other, exported)| *exported && other == path);
                if let (true, Some(absolute)) = (exported, all.absolute(file, path)) {
                    exports.insert([&file.module[..], std::slice::from_ref(name)].concat(), absolute);
                }
            }
        }
        all.exports = exports;
        all
    }

    /// A path of a file from the crate's root; none of other crates.
    fn absolute(&self, file: &File, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => file.module.clone(),
            "super" => {
                let more = rest.iter().take_while(|name| *name == "super").count();
                let kept = file.module.len().checked_sub(1 + more)?;
                return Some([&file.module[..kept], &rest[more..]].concat());
            }
            _ => {
                let child = [&file.module[..], std::slice::from_ref(first)].concat();
                match file.imports.get(first).filter(|import| *import != path) {
                    _ if self.files.contains_key(&child) => child,
                    Some(import) if import[0] != *first => self.absolute(file, import)?,
                    _ => return None,
                }
            }
        };
        Some([start, rest.to_vec()].concat())
    }

    /// The file that defines what a path names.
    fn definition(&self, path: &[String]) -> Option<&File> {
        let mut path = path.to_vec();
        // Re-exports of re-exports come to an end.
        for _ in 0..8 {
            let exported = (1..=path.len()).rev().find_map(|end| Some((end, self.exports.get(&path[..end])?)));
            match exported {
                Some((end, target)) => path = [target, &path[end..]].concat(),
                None => break,
            }
        }
        (0..=path.len()).rev().find_map(|end| self.files.get(&path[..end]))
    }

    /// The other files that a file uses.
    fn uses<'a>(&'a self, file: &'a File) -> BTreeSet<&'a str> {
        let written = file.uses.iter().filter(|(_, exported)| !exported);
        let used = written.filter_map(|(path, _)| self.definition(&self.absolute(file, path)?));
        used.filter(|used| !file.module.starts_with(&used.module)).map(|used| used.path.as_str()).collect()
    }

    /// A circle of files, each of which uses the next; empty where there is none.
    fn circle(&self) -> Vec<&str> {
        let graph = self.files.values().map(|file| (file.path.as_str(), self.uses(file))).collect();
        let mut done = BTreeSet::new();
        self.files.values().find_map(|file| walk(&file.path, &graph, &mut Vec::new(), &mut done)).unwrap_or_default()
    }
}

/// Follows uses from a file; returns the way around where one leads back to `way`.
fn walk<'a>(
    file: &'a str,
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = way.iter().position(|before| *before == file) {
        return Some(way[start..].to_vec());
    }
    if done.contains(file) {
        return None;
    }
    way.push(file);
    let found = graph[file].iter().find_map(|used| walk(used, graph, way, done));
    way.pop();
    done.insert(file);
    found
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let all = Crate::new(&sources("src", "rs"));
    let circle = all.circle();
    assert!(circle.is_empty(), "a circle: {}", circle.join(" uses "));
}

/// Layers within `device`: each uses its own folders and the layers above it.
const DEVICE: [&[&str]; 4] = [
    &["src/device/data/"],
    &["src/device/simd/", "src/device/projection.rs", "src/device/pool.rs"],
    &["src/device/cpu/", "src/device/gpu/"],
    &["src/device/stages/"],
];

#[test]
fn devices_are_layered() {
    let all = Crate::new(&sources("src", "rs"));
    // The layer of a file, and its place there: what is in none is above all.
    let place = |path: &str| {
        let found = DEVICE.iter().map(|layer| layer.iter().position(|folder| path.starts_with(folder)));
        found.zip(0..).find_map(|(place, layer)| Some((layer, place?)))
    };
    let mut breaches = Vec::new();
    for file in all.files.values() {
        let Some((layer, own)) = place(&file.path) else { continue };
        let wrong = all.uses(file).into_iter().filter(|used| match place(used) {
            Some((below, other)) => below > layer || below == layer && layer == 2 && other != own,
            None => used.starts_with("src/device/"),
        });
        breaches.extend(wrong.map(|used| format!("{} uses {used}", file.path)));
    }
    assert_none(&breaches);
}

#[test]
fn circles_are_found() {
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let circle = |files: &[Source]| {
        let all = Crate::new(files);
        let mut circle = all.circle();
        circle.sort_unstable();
        circle.join(" ")
    };
    let room = |a: &str, b: &str| {
        [
            file("src/lib.rs", "mod a;"),
            file("src/a/mod.rs", "mod b; mod c; pub use b::B; use c::C;"),
            file("src/a/b.rs", a),
            file("src/a/c.rs", b),
        ]
    };
    assert_eq!(circle(&room("use super::C;", "use super::Other; fn f() { Other::new() }")), "");
    // Through a re-export, through a path within code, and by way of the crate's root.
    assert_eq!(circle(&room("use super::c::C;", "use crate::a::B;")), "src/a/b.rs src/a/c.rs");
    assert_eq!(
        circle(&room("use super::c; fn f() -> c::C { c::f() }", "fn f() { super::b::g() }")),
        "src/a/b.rs src/a/c.rs"
    );
    assert_eq!(circle(&room("use super::c::C;", "#[cfg(test)] mod tests { use super::super::b::B; }")), "");
}
