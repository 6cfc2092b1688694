//! Ctrl+C and its like: unfinished files are removed, and the exit status is 128 + the signal.

/// Watches for signals from here on. Where that cannot be, they end the process as ever; the next writer of the same
/// file removes what was left behind.
pub fn watch() {
    #[cfg(unix)]
    unix::watch();
    // Windows has Ctrl+C alone; closing the console counts as one.
    #[cfg(windows)]
    let _ = ctrlc::set_handler(|| {
        rvc_gpu_index::remove_unfinished();
        std::process::exit(128 + 2)
    });
}

#[cfg(unix)]
mod unix {
    use std::ffi::c_int;
    use std::io::{self, IsTerminal};
    use std::sync::Arc;
    use std::{fs, thread};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::{flag, low_level};

    pub fn watch() {
        // A write beyond the limit of a file's size then fails, which is told, instead of ending the process.
        let _ = flag::register(SIGXFSZ, Arc::default());
        let watched = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
        let Ok(mut signals) = Signals::new(watched) else { return };
        let handle = signals.handle();
        let watcher = thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                rvc_gpu_index::remove_unfinished();
                // At once: drivers' threads are still at work, and what they use must not be torn down under them.
                low_level::exit(128 + signal);
            }
        });
        if watcher.is_err() {
            handle.close();
        }
    }

    /// True where whoever started this process has it ignore the signal, as `nohup` does, and a shell for what runs in
    /// the background.
    fn is_ignored(signal: c_int) -> bool {
        match fs::read_to_string("/proc/self/status") {
            Ok(status) => ignored(&status).is_some_and(|mask| mask >> (signal - 1) & 1 == 1),
            // Elsewhere nobody tells; after `nohup` nothing leads to the terminal.
            Err(_) => signal == SIGHUP && !io::stderr().is_terminal(),
        }
    }

    /// The mask of ignored signals in Linux's account of a process.
    fn ignored(status: &str) -> Option<u64> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_mask_of_ignored_signals_is_read() {
            assert_eq!(ignored("Name:\tx\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\n"), Some(0x1001));
            assert_eq!(ignored("Name:\tx\n"), None);
            // The harness lets Ctrl+C through.
            assert!(!is_ignored(SIGTERM));
        }
    }
}
