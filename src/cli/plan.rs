//! What a build is going to do, settled before any work.

use std::num::NonZeroUsize;
use std::str::FromStr;

use rvc_gpu_index::factory::{IndexSpec, Ivf, Metric};
use rvc_gpu_index::features::{FeatureSource, NpyFiles};
use rvc_gpu_index::index::ListCount;
use rvc_gpu_index::{Error, Result, cluster};

use super::build::BuildArgs;
use super::outputs::Outputs;

pub struct Plan {
    /// With the number of lists, where it has any.
    pub spec: IndexSpec,
    pub metric: Metric,
    /// None for an index without lists.
    pub nprobe: Option<usize>,
    pub outputs: Outputs,
}

impl Plan {
    pub fn new(args: &BuildArgs, voice: &NpyFiles) -> Result<Self> {
        let (mut spec, metric) = args.metric.apply(args.factory.clone());
        spec.check_dim(voice.dim())?;
        spec = spec.with_dim(voice.dim());
        let nlist = nlist(args, &spec, voice.rows())?;
        let nprobe = nprobe(args, &spec, nlist)?;
        spec.ivf = nlist.map(|nlist| Ivf { nlist: Some(nlist) });
        let outputs = Outputs::new(args, voice, &spec, nprobe.unwrap_or(1))?;
        outputs.check(voice, args.job.existing())?;
        Ok(Self { spec, metric, nprobe, outputs })
    }

    pub fn nlist(&self) -> Option<usize> {
        self.spec.ivf?.nlist
    }
}

fn nlist(args: &BuildArgs, spec: &IndexSpec, rows: usize) -> Result<Option<usize>> {
    let asked = args.nlist.given().map(|count: ListCount| count.of(rows));
    let nlist = match (spec.ivf, asked) {
        (None, None) => return Ok(None),
        (None, Some(asked)) => return Err(needs_ivf("nlist", asked, spec)),
        (Some(Ivf { nlist: Some(named) }), Some(asked)) if named != asked => {
            return Err(Error::Parameter {
                name: "nlist",
                found: format!("--nlist asks for {asked} lists, --factory {spec} for {named}"),
                remedy: "name the number once".into(),
            });
        }
        (Some(Ivf { nlist: named }), asked) => named.or(asked).unwrap_or_else(|| args.recipe.nlist(rows)),
    };
    cluster::check_rows(rows, nlist)?;
    Ok(Some(nlist))
}

fn nprobe(args: &BuildArgs, spec: &IndexSpec, nlist: Option<usize>) -> Result<Option<usize>> {
    match (nlist, args.nprobe.given()) {
        (None, Some(asked)) => Err(needs_ivf("nprobe", asked.get(), spec)),
        (nlist, asked) => {
            Ok(nlist.map(|nlist| asked.map_or_else(|| args.recipe.nprobe(nlist), NonZeroUsize::get).min(nlist)))
        }
    }
}

/// The error for a parameter of lists where there are none.
pub fn needs_ivf(name: &'static str, asked: usize, spec: &IndexSpec) -> Error {
    Error::Parameter {
        name,
        found: format!("--{name} is {asked}, but the index {spec} has no lists (no IVF)"),
        remedy: format!("leave --{name} out, or take an index with lists: IVF,Flat"),
    }
}

/// A value, or what is best.
#[derive(Clone, Copy)]
pub enum OrAuto<T> {
    Auto,
    Given(T),
}

impl<T: Copy> OrAuto<T> {
    fn given(self) -> Option<T> {
        match self {
            OrAuto::Auto => None,
            OrAuto::Given(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for OrAuto<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "auto" { Ok(OrAuto::Auto) } else { text.parse().map(OrAuto::Given) }
    }
}
