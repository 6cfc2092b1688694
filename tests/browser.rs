//! The report's page in Chromium: it renders, asks the network for nothing, and has nothing to complain about.
//!
//! The browser is the one named by `CHROMIUM`, else `chromium` or `google-chrome`. Without one every case is ignored,
//! except with `CI=true`, where it fails.

#[path = "report/fixtures.rs"]
mod fixtures;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use rvc_gpu_index::bench::Report;
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Case = fn(&Browser) -> Outcome;

/// In a container, as root, its sandbox cannot be set up.
const OPTIONS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--dump-dom",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=2000",
];

fn main() -> ExitCode {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let browser = find();
    if browser.is_none() {
        eprintln!("browser: no chromium or google-chrome; install one, or set CHROMIUM");
    }
    let cases: [(&str, Case); 3] = [
        ("a_report_renders_and_asks_for_nothing", a_report_renders_and_asks_for_nothing),
        ("hostile_strings_do_nothing", hostile_strings_do_nothing),
        ("what_a_page_asks_for_and_says_is_seen", what_a_page_asks_for_and_says_is_seen),
    ];
    let trial = |(name, case): (&str, Case)| {
        let found = browser.clone();
        let ignored = found.is_none() && !ci;
        let run = move || {
            let browser = Browser(found.ok_or("no chromium or google-chrome")?);
            case(&browser).map_err(Failed::from)
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    };
    libtest_mimic::run(&Arguments::from_args(), cases.into_iter().map(trial).collect()).exit_code()
}

fn find() -> Option<OsString> {
    let named = std::env::var_os("CHROMIUM");
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(OsString::from);
    let starts =
        |browser: &OsString| Command::new(browser).arg("--version").output().is_ok_and(|done| done.status.success());
    named.into_iter().chain(usual).find(starts)
}

struct Browser(OsString);

/// What a browser made of a page.
struct Seen {
    dom: String,
    /// Addresses that it asked the network for.
    asked: Vec<String>,
    /// What it said on its console.
    console: Vec<String>,
}

impl Browser {
    fn open(&self, page: &str) -> Outcome<Seen> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("page.html"), page)?;
        let done = Command::new(&self.0)
            .args(OPTIONS)
            .arg(option("--user-data-dir", &at("profile")))
            .arg(option("--log-net-log", &at("net.json")))
            .arg(option("file://", &at("page.html")))
            .output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            return Err(format!("{}: {said}", done.status).into());
        }
        Ok(Seen {
            dom: String::from_utf8(done.stdout)?,
            asked: addresses(&fs::read_to_string(at("net.json"))?)?,
            console: said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect(),
        })
    }
}

/// `--name=path`, or an address.
fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    if !name.ends_with('/') {
        option.push("=");
    }
    option.push(path);
    option
}

/// The addresses that pages asked for, in a log of Chromium's network. What the browser asks for on its own account has no
/// origin; that of a file is `null`.
fn addresses(log: &str) -> Outcome<Vec<String>> {
    let log: Value = serde_json::from_str(log)?;
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    let events = log["events"].as_array().ok_or("the log of the network has no events")?;
    let of_page = |event: &&Value| event["params"]["initiator"] != "not an origin";
    let asked = events.iter().filter(|event| &event["type"] == start && !start.is_null()).filter(of_page);
    Ok(asked.filter_map(|event| event["params"]["url"].as_str()).map(str::to_string).collect())
}

/// The page of result files with the given content.
fn page(results: &[(&str, Value)]) -> Outcome<String> {
    let folder = tempfile::tempdir()?;
    let mut paths = Vec::new();
    for (name, result) in results {
        paths.push(folder.path().join(name));
        fs::write(paths.last().ok_or("no path")?, result.to_string())?;
    }
    Ok(Report::read(&paths)?.html()?)
}

fn quiet(seen: &Seen) -> Outcome {
    match (seen.asked.first(), seen.console.first()) {
        (None, None) => Ok(()),
        (asked, console) => Err(format!("asked for {asked:?}, said {console:?}").into()),
    }
}

fn a_report_renders_and_asks_for_nothing(browser: &Browser) -> Outcome {
    let seen = browser.open(&page(&fixtures::results())?)?;
    quiet(&seen)?;
    let count = |part: &str| seen.dom.matches(part).count();
    // Two indexes: recall and builds; live calls; nine stages and variants; six rooflines.
    if (count("<figure>"), count("<svg ") > 20) != (20, true) {
        return Err(format!("{} figures, {} drawings", count("<figure>"), count("<svg ")).into());
    }
    Ok(())
}

fn hostile_strings_do_nothing(browser: &Browser) -> Outcome {
    let mut results = fixtures::results();
    let hostile =
        "</title></style></svg><script>console.log(1)</script><img src=http://127.0.0.1:9/x onerror=alert(1)>";
    for (_, result) in &mut results {
        result["command"] = hostile.into();
        result["workload"]["name"] = hostile.into();
        result["devices"][0]["info"]["name"] = hostile.into();
        result["devices"][0]["stages"][0]["stage"] = hostile.into();
        result["devices"][0]["builds"][0]["factory"] = hostile.into();
    }
    let seen = browser.open(&page(&results)?)?;
    quiet(&seen)?;
    if seen.dom.contains("<script") || seen.dom.contains("<img") {
        return Err("markup of a result file is in the page".into());
    }
    Ok(())
}

/// The cases above would see what they must not find.
fn what_a_page_asks_for_and_says_is_seen(browser: &Browser) -> Outcome {
    let seen = browser.open("<script>console.log('heard')</script><img src='http://127.0.0.1:9/asked.png'>")?;
    if !seen.asked.iter().any(|address| address.ends_with("/asked.png")) {
        return Err(format!("asked for {:?}", seen.asked).into());
    }
    if !seen.console.iter().any(|line| line.contains("heard")) {
        return Err(format!("said {:?}", seen.console).into());
    }
    Ok(())
}
