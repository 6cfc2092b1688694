//! What is drawn, of series whose work was the same.

use maud::{Markup, PreEscaped, html};

use super::series::Series;
use crate::bench::plot::{BarRow, Bars, Line, Mark, Plot, Point, Roofline, short};
use crate::bench::result::{LiveResult, SearchResult, StageResult};
use crate::error::{Error, Result};

/// Shares of a colour, by which a bar's phases are told apart.
const SHADES: [f64; 5] = [1.0, 0.6, 0.35, 0.2, 0.1];

const X_TITLE: &str = "queries a second (1/s)";

/// A plot with its caption. `of` are the series in it: a warning about one of them belongs to the plot.
fn figure<'a>(caption: Markup, svg: String, of: impl IntoIterator<Item = &'a Series<'a>>) -> Markup {
    let failing: Vec<_> = of.into_iter().filter(|series| series.device.fails_selftest()).map(Series::name).collect();
    html! {
        figure {
            figcaption {
                (caption)
                @for name in failing { " " span.warning { (name) " fails selftest." } }
            }
            div.scroll { (PreEscaped(svg)) }
        }
    }
}

/// Values of all series, each once, in the order in which they come.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut distinct, value| {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
        distinct
    })
}

/// Recall against queries a second, a plot an index.
pub fn recall(group: &[&Series]) -> Result<Vec<Markup>> {
    let searches =
        |series: &Series| series.device.searches.iter().map(|at| (at.factory.clone(), at.k)).collect::<Vec<_>>();
    let panel = |(factory, k): (String, usize)| {
        let mut drawn = Vec::new();
        let mut lines = Vec::new();
        for series in group {
            let settings = series.device.searches.iter().filter(|at| at.factory == factory && at.k == k);
            let (points, others) = frontier(settings);
            if !points.is_empty() {
                drawn.push(*series);
                lines.push(Line { name: series.name(), series: series.number, points, others });
            }
        }
        let (x_title, y_title) = (X_TITLE.into(), format!("recall@{k} (share)"));
        let svg = Plot { title: String::new(), x_title, y_title, lines }.panel()?;
        Ok(figure(html! { strong { (factory) } }, svg, drawn))
    };
    distinct(group.iter().flat_map(|series| searches(series))).into_iter().map(panel).collect()
}

/// The same in one plot, a line a device and index.
pub fn recall_of_all(group: &[&Series]) -> Result<Plot> {
    let (many, mut lines) = (group.len() > 1, Vec::<Line>::new());
    let mut k = 0;
    for series in group {
        let searches = &series.device.searches;
        for factory in distinct(searches.iter().map(|at| &at.factory)) {
            let (points, others) = frontier(searches.iter().filter(|at| at.factory == *factory));
            let name = if many { format!("{factory}, {}", series.name()) } else { factory.clone() };
            lines.push(Line { name, series: lines.len(), points, others });
        }
        k = searches.first().map_or(k, |at| at.k);
    }
    if lines.is_empty() {
        return Err(Error::parameter(
            "results",
            "they have no searches",
            "name results of benchmarks that came so far",
        ));
    }
    let work = &group[0].run.result.workload;
    let device = if many { String::new() } else { format!(", {}", group[0].device.info.name) };
    let title = format!("{}, {} × {}{device}", work.name, work.rows, work.d);
    Ok(Plot { title, x_title: X_TITLE.into(), y_title: format!("recall@{k} (share)"), lines })
}

/// (queries a second, recall) of settings.
type Points = Vec<(f64, f64)>;

/// The settings that no other beats in both, from slow to fast, and the others.
fn frontier<'a>(settings: impl Iterator<Item = &'a SearchResult>) -> (Points, Points) {
    let mut points: Vec<_> = settings.map(|at| (at.queries_per_second.median, at.recall)).collect();
    points.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let (mut best, mut kept, mut others) = (-1.0, Vec::new(), Vec::new());
    for point in points {
        if point.1 > best {
            best = point.1;
            kept.push(point);
        } else {
            others.push(point);
        }
    }
    kept.reverse();
    (kept, others)
}

/// Seconds of builds by phase, a plot an index.
pub fn builds(group: &[&Series]) -> Result<Vec<Markup>> {
    let all = || group.iter().flat_map(|series| series.device.builds.iter().map(move |build| (*series, build)));
    let phases = distinct(all().flat_map(|(_, build)| build.phases.iter().map(|phase| phase.phase.as_str())));
    let shade = |phase: &str| {
        let place = phases.iter().position(|other| *other == phase).unwrap_or(0);
        SHADES[place % SHADES.len()]
    };
    let panel = |factory: &str| {
        let (mut drawn, mut rows) = (Vec::new(), Vec::new());
        for (series, build) in all().filter(|(_, build)| build.factory == factory) {
            let mut end = 0.0;
            let marks = build.phases.iter().map(|phase| {
                let from = end;
                end += phase.seconds.median;
                Mark::Bar { from, to: end, height: 0.7, opacity: shade(&phase.phase) }
            });
            let (marks, note) = (marks.collect(), seconds(build.seconds.median));
            rows.push(BarRow { name: series.short_name(), series: Some(series.number), marks, note });
            drawn.push(series);
        }
        let svg = Bars { x_title: "median time of each phase in s".into(), log: false, reach: 0.0, rows }.svg()?;
        let caption = html! {
            strong { (factory) } ": "
            @for phase in &phases {
                span.shade style=(format!("opacity:{}", shade(phase))) {} " " (phase) " "
            }
        };
        Ok(figure(caption, svg, drawn))
    };
    distinct(all().map(|(_, build)| build.factory.as_str())).into_iter().map(panel).collect()
}

/// How long live calls take, a plot an index and setting.
pub fn live(group: &[&Series]) -> Result<Vec<Markup>> {
    let all = || group.iter().flat_map(|series| series.device.live.iter().map(move |live| (*series, live)));
    let panel = |title: String| {
        let of_panel = || all().filter(|(_, live)| setting(live) == title);
        let (mut drawn, mut rows) = (Vec::new(), Vec::new());
        for frames in distinct(of_panel().map(|(_, live)| live.frames)) {
            rows.push(BarRow::heading(format!("{frames} frames")));
            for (series, live) in of_panel().filter(|(_, live)| live.frames == frames) {
                rows.push(BarRow { name: series.short_name(), series: Some(series.number), ..calls(live) });
                drawn.push(series);
            }
        }
        let svg = Bars { x_title: "time a call in ms".into(), log: true, reach: 0.0, rows }.svg()?;
        Ok(figure(html! { strong { (title) } }, svg, distinct_series(drawn)))
    };
    distinct(all().map(|(_, live)| setting(live))).into_iter().map(panel).collect()
}

/// A box from quartile to quartile on a line from the fastest call to p99, and a tick at the median.
fn calls(live: &LiveResult) -> BarRow {
    let ms = |seconds: f64| 1e3 * seconds;
    let percentile = |percent: usize| ms(live.percentiles.get(percent).copied().unwrap_or_default());
    let marks = vec![
        Mark::Bar { from: percentile(0), to: percentile(99), height: 0.12, opacity: 0.9 },
        Mark::Bar { from: ms(live.seconds.q1), to: ms(live.seconds.q3), height: 0.6, opacity: 0.7 },
        Mark::Tick { at: ms(live.seconds.median) },
    ];
    BarRow { marks, note: seconds(live.seconds.median), ..BarRow::heading(String::new()) }
}

fn setting(live: &LiveResult) -> String {
    let nprobe = live.nprobe.map_or(String::new(), |nprobe| format!(", nprobe {nprobe}"));
    let k_factor = live.k_factor.map_or(String::new(), |factor| format!(", k_factor {factor}"));
    format!("{}{nprobe}{k_factor}, k {}", live.factory, live.k)
}

/// How much of its ceiling each stage reaches, a plot a stage.
pub fn shares(group: &[&Series]) -> Result<Vec<Markup>> {
    let all = || group.iter().flat_map(|series| series.device.stages.iter().map(move |stage| (*series, stage)));
    let panel = |stage: String| {
        let (mut drawn, mut rows) = (Vec::new(), Vec::new());
        for (series, stage) in all().filter(|(_, other)| name(other) == stage) {
            let to = 100.0 * stage.share;
            let marks = vec![Mark::Bar { from: 0.0, to, height: 0.7, opacity: 1.0 }];
            let note = if to < 0.01 { "< 0.01 %".into() } else { format!("{} %", short(to)) };
            rows.push(BarRow { name: series.short_name(), series: Some(series.number), marks, note });
            drawn.push(series);
        }
        let x_title = "share of the ceiling that binds it, in %".into();
        let svg = Bars { x_title, log: false, reach: 100.0, rows }.svg()?;
        Ok(figure(html! { strong { (stage) } }, svg, distinct_series(drawn)))
    };
    distinct(all().map(|(_, stage)| name(stage))).into_iter().map(panel).collect()
}

/// Stages under the ceilings of their device, a plot a series.
pub fn rooflines(group: &[&Series]) -> Result<Vec<Markup>> {
    let mut figures = Vec::new();
    for series in group {
        let Some(ceilings) = &series.device.ceilings else { continue };
        let point = |stage: &StageResult| Point {
            name: name(stage),
            intensity: stage.flops / stage.bytes,
            flops: stage.flops / stage.seconds.median,
        };
        let points: Vec<_> = series.device.stages.iter().filter(|stage| stage.flops > 0.0).map(point).collect();
        if points.is_empty() {
            continue;
        }
        let (flops, copy) = (ceilings.flops.median, ceilings.copy.median);
        let svg = Roofline { series: series.number, flops, copy, points }.svg()?;
        figures.push(figure(html! { strong { (series.title()) } }, svg, [*series]));
    }
    Ok(figures)
}

fn name(stage: &StageResult) -> String {
    match &stage.variant {
        Some(variant) => format!("{}, {variant}", stage.stage),
        None => stage.stage.clone(),
    }
}

/// Each series once.
fn distinct_series<'a>(series: Vec<&'a Series<'a>>) -> Vec<&'a Series<'a>> {
    let mut distinct = series;
    distinct.sort_by_key(|series| series.number);
    distinct.dedup_by_key(|series| series.number);
    distinct
}

/// A time as a note has room for it.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..1e-3 => format!("{:.0} µs", 1e6 * seconds),
        ..1e-1 => format!("{:.2} ms", 1e3 * seconds),
        ..1.0 => format!("{:.0} ms", 1e3 * seconds),
        ..1e2 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::result::Summary;

    #[test]
    fn the_frontier_has_what_nothing_beats() {
        let setting = |speed: f64, recall: f64| SearchResult {
            factory: String::new(),
            nprobe: None,
            k_factor: None,
            k: 8,
            recall,
            queries_per_second: Summary::of(&[speed]).unwrap(),
        };
        let settings =
            [(100.0, 0.9), (90.0, 0.8), (50.0, 0.95), (50.0, 0.99), (200.0, 0.3)].map(|(x, y)| setting(x, y));
        let (kept, others) = frontier(settings.iter());
        assert_eq!(kept, [(50.0, 0.99), (100.0, 0.9), (200.0, 0.3)]);
        assert_eq!(others, [(90.0, 0.8), (50.0, 0.95)]);
    }
}
