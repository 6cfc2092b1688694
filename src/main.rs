//! The command `rvc-gpu-index`.

mod cli;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A Vulkan layer of Mesa looks for a window system there, and complains on stderr where it is not set. Any path will do.
    if cfg!(target_os = "linux") && env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: there is no other thread yet that could read the environment.
        unsafe { env::set_var("XDG_RUNTIME_DIR", "/nonexistent") };
    }
    cli::run()
}
