//! Strings of the command line. What is accepted prints as what it is.
#![no_main]
#![deny(missing_docs)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use rvc_gpu_index::bench::UtcTime;
use rvc_gpu_index::factory::{IndexSpec, Similarity};
use rvc_gpu_index::index::{ListCount, Recipe};
use rvc_gpu_index::retrieval::ExpandParams;
use rvc_gpu_index::{Error, cluster};
use rvc_gpu_index_fuzz::count;

fuzz_target!(|text: &str| {
    let spec = prints_back::<IndexSpec>(text);
    for d in [1, 7, 768] {
        if let Some(spec) = spec.clone().map(|spec| spec.with_dim(d)) {
            prints_back::<IndexSpec>(&spec.to_string()).expect("an index of some width");
            spec.check_dim(d).is_ok().then(|| spec.with_dim(d));
        }
    }
    let parsed = [
        spec.is_some(),
        prints_back::<Similarity>(text).is_some(),
        prints_back::<Recipe>(text).is_some(),
        prints_back::<cluster::Method>(text).is_some(),
        prints_back::<ExpandParams>(text).is_some(),
        prints_back::<UtcTime>(text).is_some(),
    ];
    if let Ok(count) = text.parse::<ListCount>() {
        assert!([0, 1, 38, usize::MAX].iter().all(|&rows| count.of(rows) > 0));
    }
    count(parsed.contains(&true));
});

fn prints_back<T: FromStr<Err = Error> + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
            Some(value)
        }
        Err(error) => {
            assert!(error.is_usage() && !error.to_string().is_empty());
            None
        }
    }
}
