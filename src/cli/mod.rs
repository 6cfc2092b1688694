//! The command line: one file a subcommand, each from typed arguments to a report.

mod bench;
mod blend;
mod build;
mod build_args;
mod completions;
mod compress;
mod devices;
mod eval;
mod expand;
mod grid;
mod ground_truth_args;
mod hosts;
mod info;
mod live;
mod outputs;
mod plan;
mod progress;
mod query_args;
mod report;
mod report_html;
mod run_args;
mod search;
mod selftest;
mod signals;
mod tune;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use rvc_gpu_index::Result;

const EXAMPLES: &str = "Examples:
  rvc-gpu-index build logs/my-voice
  rvc-gpu-index search logs/my-voice/added_IVF77_Flat_nprobe_1_my-voice_v2.index frames.npy
  rvc-gpu-index selftest --device all

Exit status: 0, 2 where something impossible was asked for, 1 where a file or a device failed,
128 + the signal after Ctrl+C, TERM or HUP.";

/// Builds and searches faiss-compatible retrieval indexes for RVC voice conversion, on any GPU or on the CPU.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(build_args::BuildArgs),
    Search(search::SearchArgs),
    Blend(blend::BlendArgs),
    Expand(expand::ExpandArgs),
    Live(live::LiveArgs),
    Eval(eval::EvalArgs),
    Tune(tune::TuneArgs),
    Compress(compress::CompressArgs),
    Report(report_html::ReportHtmlArgs),
    Info(info::InfoArgs),
    Devices(devices::DevicesArgs),
    Selftest(selftest::SelftestArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    signals::watch();
    // Where the system gives no threads, this one does all the work.
    if thread::Builder::new().spawn(|| ()).is_err() {
        let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
    }
    let outcome = execute(&cli.command);
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Where stderr is closed, the exit code still tells.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(if error.is_usage() { 2 } else { 1 })
}

fn execute(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Bench(args) => {
            let measured = bench::run(args)?;
            report::print(&measured, args.json)?;
            return Ok(if measured.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Selftest(args) => {
            let found = selftest::run(args)?;
            report::print(&found, args.json)?;
            return Ok(if found.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Build(args) => args.run.print(&build::run(args)?),
        Command::Search(args) => args.run.print(&search::run(args)?),
        Command::Blend(args) => args.run.print(&blend::run(args)?),
        Command::Expand(args) => args.run.print(&expand::run(args)?),
        Command::Live(args) => report::print(&live::run(args)?, args.json),
        Command::Eval(args) => args.run.print(&eval::run(args)?),
        Command::Tune(args) => args.run.print(&tune::run(args)?),
        Command::Compress(args) => args.run.print(&compress::run(args)?),
        Command::Report(args) => report::print(&report_html::run(args)?, args.json),
        Command::Info(args) => report::print(&info::run(args)?, args.json),
        Command::Devices(args) => report::print(&devices::run(), args.json),
        Command::Completions(args) => completions::run(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
