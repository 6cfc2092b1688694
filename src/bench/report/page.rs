//! The page itself.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Run;
use super::series::{self, Series, tag};
use super::table::Table;
use super::{plots, tables};
use crate::bench::plot::printable;
use crate::bench::result::SCHEMA;
use crate::error::Result;

const STYLE: &str = include_str!("page.css");
/// Nothing is loaded, sent or run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const RECALL: &str = "Up and to the right is better. A line joins the settings that no other beats in both.";
const BUILDS: &str = "Shorter is better. Behind each bar: the median of the whole build.";
const LIVE: &str = "Further left is better. The box reaches from the first to the third quartile, the line from the fastest \
    call to p99; the tick, and the figure behind, is p50.";
const SHARES: &str = "Longer is better. A stage's ceiling is the device's arithmetic, its memory or the way from the host, \
    whichever leaves the least room. Above 100 %, bytes came from a cache or work was left out.";
const ROOFLINES: &str = "Nearer to the line is better: it is what the device's memory allows on the left, and its arithmetic on \
    the right. Stages without arithmetic have no place here.";
const FIGURES: &str = "Point at a figure to see it with all its digits, as the result file has it. A change is marked where \
    both the quartile ranges are apart and the medians differ by more than 2 %, against the latest earlier result of the \
    same device, workload and length.";

/// All series with the same work, and what is measured of them.
struct Section<'a> {
    id: String,
    title: String,
    group: Vec<&'a Series<'a>>,
    tables: Vec<Table<'a>>,
}

pub fn page(runs: &[Run]) -> Result<String> {
    let all = series::all(runs);
    let groups = series::groups(&all).into_iter().enumerate();
    let sections: Vec<_> = groups.map(|(number, group)| Section::new(number, group)).collect();
    let devices = tables::devices(&all);
    let mut contents = vec![("devices".to_string(), "Devices".to_string())];
    contents.extend(sections.iter().map(|section| (section.id.clone(), section.title.clone())));
    contents.extend(
        [("facts-and-ceilings", "Facts and ceilings"), ("results", "Results")]
            .map(|(id, title)| (id.into(), title.into())),
    );
    let body = html! {
        h1 { "Benchmark of rvc-gpu-index" }
        p { (counted(runs.len(), "result")) ", " (counted(all.len(), "device")) ". All figures are medians unless their heading says otherwise." }
        nav aria-label="Contents" { @for (id, title) in &contents { a href={ "#" (id) } { (title) } } }
        (heading("devices", "Devices"))
        (legend(&all)?)
        (warnings(&all))
        (changes(devices.iter().chain(sections.iter().flat_map(|section| &section.tables))))
        @for section in &sections { (section.html()?) }
        (heading("facts-and-ceilings", "Facts and ceilings"))
        @for table in &devices { (table.html()) }
        (heading("results", "Results"))
        (tables::runs(runs).html())
        (commands(runs))
        p.note { "Written by rvc-gpu-index " (env!("CARGO_PKG_VERSION")) " from result files of schema " (SCHEMA) "." }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Benchmark of rvc-gpu-index" }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    Ok(printable(page.into_string()))
}

impl<'a> Section<'a> {
    fn new(number: usize, group: Vec<&'a Series<'a>>) -> Self {
        let (id, result) = (format!("work-{}", number + 1), &group[0].run.result);
        let (work, quick) = (&result.workload, if result.quick { ", quick" } else { "" });
        let title = format!("{}: {} × {}{quick}", work.name, work.rows, work.d);
        Self { tables: tables::measured(&id, &group), id, title, group }
    }

    fn html(&self) -> Result<Markup> {
        let plots = [
            ("Recall and queries a second", RECALL, plots::recall(&self.group)?),
            ("Build time", BUILDS, plots::builds(&self.group)?),
            ("Live latency", LIVE, plots::live(&self.group)?),
            ("Stages: share of their ceilings", SHARES, plots::shares(&self.group)?),
            ("Stages: rooflines", ROOFLINES, plots::rooflines(&self.group)?),
        ];
        Ok(html! {
            (heading(&self.id, &self.title))
            @for (number, (title, note, figures)) in plots.iter().enumerate() {
                @if !figures.is_empty() {
                    (subheading(&format!("{}-plots-{}", self.id, number + 1), title))
                    p.note { (note) }
                    div.plots { @for figure in figures { (figure) } }
                }
            }
            (subheading(&format!("{}-figures", self.id), "All figures"))
            p.note { (FIGURES) }
            @for table in &self.tables { (table.html()) }
        })
    }
}

fn heading(id: &str, title: &str) -> Markup {
    html! { h2 id=(id) { a href={ "#" (id) } { (title) } } }
}

fn subheading(id: &str, title: &str) -> Markup {
    html! { h3 id=(id) { a href={ "#" (id) } { (title) } } }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// The legend of every plot.
fn legend(all: &[Series]) -> Result<Markup> {
    let line = |series: &Series| {
        let (result, info) = (&series.run.result, &series.device.info);
        let about = format!("{} · {}, {} · ", info.backend, result.host.cpu, result.host.os);
        let workload = format!(" · {}{}", result.workload.name, if result.quick { ", quick" } else { "" });
        html! {
            li {
                (tag(series)) " " strong { (info.name) } " · " (about)
                time datetime=(result.time) { (result.time) } (workload)
                @if series.device.fails_selftest() { " · " span.warning { "⚠ fails selftest" } }
            }
        }
    };
    Ok(html! { ul.legend { @for series in all { (line(series)) } } })
}

/// What is to be kept in mind, device by device.
fn warnings(all: &[Series]) -> Markup {
    let lines: Vec<_> = all.iter().flat_map(warnings_of).collect();
    html! {
        @if !lines.is_empty() {
            (subheading("warnings", "Warnings"))
            ul { @for line in lines { li { (line) } } }
        }
    }
}

fn warnings_of(series: &Series) -> Vec<Markup> {
    let device = series.device;
    let name = html! { (tag(series)) " " (device.info.name) ": " };
    let failed = device.selftest.as_ref().filter(|selftest| selftest.failed > 0).map(|selftest| {
        let first = selftest.first_failure.as_ref();
        let first = first.map_or(String::new(), |case| format!(", the first {} of {}", case.case, case.stage));
        let cases = counted(usize::try_from(selftest.failed).unwrap_or(usize::MAX), "case");
        html! { span.warning { "⚠ fails selftest" } " (" (cases) (first) "); none of its figures is to be trusted" }
    });
    let not_run = device.selftest.is_none().then(|| html! { "selftest was not run" });
    let error = device.error.as_ref().map(|error| html! { span.warning { "⚠ stopped" } ": " (error) });
    let warnings = device.warnings.iter().map(|warning| html! { (warning) });
    let lines = failed.into_iter().chain(not_run).chain(error).chain(warnings);
    lines.map(|line| html! { (name) (line) }).collect()
}

fn changes<'a>(tables: impl Iterator<Item = &'a Table<'a>>) -> Markup {
    let changes: Vec<_> = tables.flat_map(Table::changes).collect();
    html! {
        @if !changes.is_empty() {
            (subheading("changes", "Changes"))
            ul { @for change in changes { li { (change) } } }
        }
    }
}

/// The command line of every result.
fn commands(runs: &[Run]) -> Markup {
    html! {
        h4 id="commands" { a href="#commands" { "Commands" } }
        @for run in runs {
            p.note { (run.path.display()) }
            pre { code { (run.result.command) } }
        }
    }
}
