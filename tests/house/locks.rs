//! No lock, cell or mutex is held while work runs on a thread pool: a thread that waits there for its part of the work may
//! begin another task that wants the same lock, and waits for itself.

use super::{HOLDERS, assert_none, sources};

/// Code that holds something while other code runs: a cell that is being filled, a borrowed workspace, a guard with a name.
fn holds(code: &str) -> bool {
    let guard = code.trim_start().starts_with("let ") && code.contains(".lock()") && code.ends_with("into_inner);");
    let fills = ["get_or_init(", "get_or_try_init("].iter().filter_map(|call| code.split_once(call));
    // A value that is there already takes no time.
    let made = |(_, value): (&str, &str)| {
        let name = value.strip_prefix("|| ").and_then(|value| value.split_once(')')).map(|(name, _)| name);
        name.is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    guard || fills.into_iter().any(|fill| !made(fill)) || code.contains("with_borrow") || code.contains("LazyLock")
}

#[test]
fn locks_are_held_where_nothing_waits() {
    let mut breaches = Vec::new();
    for source in sources("src", "rs").iter().filter(|source| !HOLDERS.iter().any(|(path, _)| *path == source.path)) {
        let lines = source.code().filter(|(_, code)| holds(code));
        breaches.extend(lines.map(|(number, code)| {
            format!(
                "{}:{number}: {}: compute first, or list the file with what runs meanwhile",
                source.path,
                code.trim()
            )
        }));
    }
    assert_none(&breaches);
}
