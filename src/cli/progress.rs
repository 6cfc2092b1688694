//! How far a long step has come, told on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressState, ProgressStyle};

/// Between two lines where no bar can be drawn.
const PAUSE: Duration = Duration::from_secs(3);

/// Draws a bar on a terminal, writes a line now and then elsewhere.
pub struct Progress {
    style: Style,
    /// What is counted.
    unit: &'static str,
    step: Option<Step>,
    /// When the last line was written.
    said: Instant,
}

#[derive(PartialEq)]
enum Style {
    Silent,
    Lines,
    Bar,
}

struct Step {
    name: &'static str,
    unit: &'static str,
    started: Instant,
    /// Goes away when dropped.
    bar: ProgressBar,
}

impl Progress {
    /// Counts rows.
    pub fn new(quiet: bool) -> Self {
        Self::of("rows", quiet)
    }

    /// Counts what `unit` names.
    pub fn of(unit: &'static str, quiet: bool) -> Self {
        let style = match quiet {
            true => Style::Silent,
            false if io::stderr().is_terminal() => Style::Bar,
            false => Style::Lines,
        };
        Self { style, unit, step: None, said: Instant::now() }
    }

    /// `done` of `total` have gone through a step; another name starts another step.
    pub fn at(&mut self, name: &'static str, done: usize, total: usize) {
        let style = &self.style;
        if self.step.as_ref().is_none_or(|step| step.name != name) {
            self.step = Some(Step::new((name, self.unit), total, *style == Style::Bar));
        }
        let Some(step) = &self.step else { return };
        step.bar.set_position(done as u64);
        if *style == Style::Lines && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            step.say(done, total);
        }
    }

    /// The present step is over.
    pub fn finish(&mut self) {
        self.step = None;
    }

    /// Warns of each, and keeps it for the report.
    pub fn warn_all(&mut self, warnings: Vec<String>, kept: &mut Vec<String>) {
        warnings.iter().for_each(|warning| self.warn(warning));
        kept.extend(warnings);
    }

    pub fn warn(&mut self, warning: &str) {
        self.note(&format!("warning: {warning}"));
    }

    /// Writes a line.
    pub fn note(&mut self, line: &str) {
        self.finish();
        if self.style != Style::Silent {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

impl Step {
    fn new((name, unit): (&'static str, &'static str), total: usize, drawn: bool) -> Self {
        let template = format!(
            "{{msg:<9}} [{{bar:32}}] {{percent:>3}}% {{human_pos}} of {{human_len}} {unit}, {{rate}} {unit}/s, {{eta}} left"
        );
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        });
        let bar = if drawn { ProgressBar::new(total as u64) } else { ProgressBar::hidden() };
        let bar = bar.with_style(style.progress_chars("=> ")).with_message(name).with_finish(ProgressFinish::AndClear);
        Self { name, unit, started: Instant::now(), bar }
    }

    fn say(&self, done: usize, total: usize) {
        let unit = self.unit;
        let seconds = self.started.elapsed().as_secs_f64();
        let left = seconds * total.saturating_sub(done) as f64 / done.max(1) as f64;
        let rate = done as f64 / seconds.max(f64::EPSILON);
        let _ = writeln!(
            io::stderr(),
            "{}: {:.0}%, {done} of {total} {unit}, {rate:.0} {unit}/s, {left:.0} s left",
            self.name,
            100.0 * done as f64 / total.max(1) as f64
        );
    }
}
