//! A result file. What is read of it is written back, and makes a page and a plot.
#![no_main]
#![deny(missing_docs)]

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use rvc_gpu_index::Existing;
use rvc_gpu_index::bench::{BenchResult, Report};
use rvc_gpu_index_fuzz::{count, json_file, with_file};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    json_file::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let accepted = with_file(data, |path| match BenchResult::read(path) {
        Ok(result) => {
            check(&result, path);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    });
    count(accepted);
    // Changes of what is refused are refused, too.
    if accepted { Corpus::Keep } else { Corpus::Reject }
});

fn check(result: &BenchResult, path: &Path) {
    let copy = path.with_file_name("copy.json");
    result.write(&copy, Existing::Keep).expect("a copy");
    assert!(BenchResult::read(&copy).expect("the copy is read") == *result);

    let report = Report::read(&[path]).expect("was read before");
    assert_eq!((report.results(), report.devices()), (1, result.devices.len()));
    let page = report.html().expect("a page");
    // Whatever a text in the file says, it is text in the page.
    assert!(!page.contains("<script"));
    if let Ok(plot) = report.recall_plot() {
        let svg = plot.document().expect("a plot");
        roxmltree::Document::parse(&svg).expect("an SVG document");
    }
}
