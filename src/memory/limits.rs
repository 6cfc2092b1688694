//! How much memory is free.

use std::num::NonZeroUsize;
use std::path::Path;
use std::{fs, thread};

use sysinfo::{MemoryRefreshKind, System};

/// Address space that the C library reserves for a thread that allocates.
const ARENA: u64 = 64 << 20;
/// Beside one a core: what reads ahead, and what waits for signals; one of those that are there may not have allocated yet.
const OTHER_THREADS: u64 = 3;

/// Bytes that this process can have without making others swap; 0 where the system does not tell.
pub fn free_memory() -> u64 {
    let system = system();
    limited(system.available_memory())
}

/// The same with what could be swapped out, where the system gives out more than it has; elsewhere asking for it tells.
pub(super) fn free_with_swap() -> Option<u64> {
    let system = system();
    let known = cfg!(target_os = "linux") && system.available_memory() > 0;
    known.then(|| limited(system.available_memory().saturating_add(system.free_swap())))
}

/// Has the C library return what it keeps of memory that was freed. It holds on to blocks of up to 32 MiB, which is what a
/// batch takes, and an index that comes after a training would find them taken.
pub(super) fn return_freed() {
    // SAFETY: it may be called at any time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn system() -> System {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram().with_swap());
    system
}

fn limited(free: u64) -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64 + OTHER_THREADS;
    let process = process_limit(&read("/proc/self/limits"), &read("/proc/self/status"), threads);
    let groups = group_limit(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    [process, groups].into_iter().flatten().fold(free, u64::min)
}

/// What `ulimit -v` and `-d` leave, by Linux's account of a process that will have so many threads.
fn process_limit(limits: &str, status: &str, threads: u64) -> Option<u64> {
    let number = |text: &str, name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let coming = threads.saturating_sub(number(status, "Threads:").unwrap_or(threads));
    let left = |limit: &str, used: &str| {
        let left = number(limits, limit)?.saturating_sub(number(status, used)? * 1024);
        // Where there is no room for an arena, a thread does without.
        Some(left - (coming * ARENA).min(left / 2))
    };
    let all = [left("Max address space", "VmSize:"), left("Max data size", "VmData:")];
    all.into_iter().flatten().min()
}

/// What the control groups that this process is in leave: its own, and each around it. `membership` is
/// `/proc/self/cgroup`.
fn group_limit(root: &Path, membership: &str) -> Option<u64> {
    let groups = membership.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, Path::new(parts.next()?));
        match controllers {
            "" => Some((root.to_path_buf(), &V2, group)),
            _ if controllers.split(',').any(|name| name == "memory") => Some((root.join("memory"), &V1, group)),
            _ => None,
        }
    });
    let left = groups.flat_map(|(root, files, group)| {
        // In a container the way to the group may be one that is not visible there; its root is.
        group.ancestors().filter_map(move |group| files.left(&root.join(group.strip_prefix("/").unwrap_or(group))))
    });
    left.min()
}

/// Where a version of control groups keeps its numbers.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat`: copies of files, which make room.
    cached: [&'static str; 2],
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file ", "total_active_file "],
};
const V2: Files = Files { limit: "memory.max", used: "memory.current", cached: ["inactive_file ", "active_file "] };

impl Files {
    /// None without a limit.
    fn left(&self, group: &Path) -> Option<u64> {
        let number = |file| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let (limit, used) = (number(self.limit)?, number(self.used)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().filter_map(|line| self.cached.iter().find_map(|name| line.strip_prefix(name)));
        let cached: u64 = cached.filter_map(|bytes| bytes.trim().parse::<u64>().ok()).sum();
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some() {
        // A machine that runs this has more than nothing free, and less than 2⁵⁰ bytes.
        assert!((1..1 << 50).contains(&free_memory()));
        assert!(free_with_swap().is_none_or(|free| free >= free_memory() / 2));
    }

    #[test]
    fn limits_of_the_process() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         307200000            unlimited            bytes     \n";
        let status = "VmPeak:\t  900000 kB\nVmSize:\t  100000 kB\nVmData:\t   50000 kB\n";
        assert_eq!(process_limit(limits, status, 4), Some(307_200_000 - 102_400_000));
        assert_eq!(
            process_limit(&limits.replace("unlimited            unlimited", "60000000 1"), status, 4),
            Some(8_800_000)
        );
        assert_eq!(process_limit("Max address space  1000 1000 bytes", status, 4), Some(0));
        assert_eq!(process_limit("", "", 4), None);
        // Two threads are there, and two are to come; of little they take half.
        let threads = format!("{status}Threads:\t2\n");
        assert_eq!(process_limit(limits, &threads, 3), Some(307_200_000 - 102_400_000 - (64 << 20)));
        assert_eq!(process_limit(limits, &threads, 4), Some((307_200_000 - 102_400_000) / 2));
    }

    #[test]
    fn limits_of_control_groups() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str, files: [(&str, &str); 3]| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
        };
        let stat = ("memory.stat", "anon 5\ninactive_file 100\nactive_file 20\ntotal_inactive_file 7\n");
        group("a", [("memory.max", "1000\n"), ("memory.current", "900\n"), stat]);
        group("a/b", [("memory.max", "max\n"), ("memory.current", "300\n"), stat]);
        group("memory/c", [("memory.limit_in_bytes", "90\n"), ("memory.usage_in_bytes", "50\n"), stat]);
        let left = |membership: &str| group_limit(root.path(), membership);
        // 1000 − (900 − 120), of the group around it.
        assert_eq!(left("0::/a/b\n"), Some(220));
        assert_eq!(left("0::/\n"), None);
        assert_eq!(left("5:cpu,memory:/c\n4:cpu:/a\n0::/a/b\n"), Some(47));
        assert_eq!(left("5:memory:/elsewhere\n"), None);
        assert_eq!(left(""), None);
    }
}
