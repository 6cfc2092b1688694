//! The command `rvc-gpu-index`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
