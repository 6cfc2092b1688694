//! `completions`: scripts that let a shell complete this command.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use rvc_gpu_index::Result;

use super::{Cli, report};

const EXAMPLES: &str = "Example:
  rvc-gpu-index completions bash > ~/.local/share/bash-completion/completions/rvc-gpu-index";

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rvc-gpu-index", &mut script);
    report::print_bytes(&script)
}
