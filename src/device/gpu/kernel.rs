//! Kernels: composed WGSL, its bindings and constants.

use crate::device::data::buffer::NUDGE;
use crate::device::data::method::Tile;

/// Rows a block of `centroid_update`'s counting sort: labels of a block lie in workgroup memory.
pub(crate) const UPDATE_BLOCK: usize = 1024;
/// Rows a block of `pq_update`. The blocks' tallies, 16 vec4s a column, then take half the room of the rows themselves.
pub(crate) const PQ_BLOCK: usize = 128;

/// How a kernel uses one of its bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Parameters in a uniform buffer.
    Uniform,
    /// A storage buffer that is read.
    Read,
    /// A storage buffer that is written.
    Write,
}

use Binding::{Read, Uniform, Write};

/// One composed WGSL source: a file of `shaders/` with the shared parts that it calls behind it.
#[derive(Debug)]
pub struct GpuKernel {
    /// The stage's name, with the metric where there are several.
    pub name: &'static str,
    /// Composed WGSL.
    pub source: &'static str,
    /// Bindings of group 0, in order.
    pub bindings: &'static [Binding],
    /// Values of the overrides.
    pub constants: &'static [(&'static str, f64)],
    /// Rows and columns of the cooperative matrices that it multiplies. All but these run wherever WebGPU does.
    pub matrices: Option<u32>,
}

macro_rules! wgsl {
    ($($file:expr),+) => { concat!($(include_str!(concat!("../../../shaders/", $file, ".wgsl"))),+) };
}

/// A kernel for each [`RowFormat`](crate::device::RowFormat), in its order; the metric is a part of its name, and of its source.
macro_rules! by_rows {
    ($stage:literal $(, $metric:literal, $shared:literal)?; $bindings:expr) => {
        [
            GpuKernel {
                name: concat!($stage $(, "_", $metric)?),
                source: wgsl!($stage $(, $shared)?, "shared/rows_f32"),
                bindings: $bindings,
                constants: &[],
                matrices: None,
            },
            GpuKernel {
                name: concat!($stage $(, "_", $metric)?, "_f16"),
                source: wgsl!($stage $(, $shared)?, "shared/rows_f16"),
                bindings: $bindings,
                constants: &[],
                matrices: None,
            },
        ]
    };
}

/// The same for each [`Metric`](crate::factory::Metric), in its order.
macro_rules! by_metric_and_rows {
    ($stage:literal; $bindings:expr) => {
        [
            by_rows!($stage, "l2", "shared/metric_l2"; $bindings),
            by_rows!($stage, "ip", "shared/metric_ip"; $bindings),
        ]
    };
}

/// The product's overrides for each [`Tile`], in the order of [`Tile::ALL`].
static BLOCKS: [[(&str, f64); 2]; Tile::ALL.len()] = [blocks(Tile::ALL[0]), blocks(Tile::ALL[1]), blocks(Tile::ALL[2])];

const fn blocks(tile: Tile) -> [(&'static str, f64); 2] {
    [("ROW_BLOCKS", (tile.rows / 64) as f64), ("CENTROID_BLOCKS", (tile.centroids / 64) as f64)]
}

const fn tiled(name: &'static str, source: &'static str, bindings: &'static [Binding], tile: usize) -> GpuKernel {
    GpuKernel { name, source, bindings, constants: &BLOCKS[tile], matrices: None }
}

/// A kernel for each [`Tile`], in the order of [`Tile::ALL`].
const fn by_tile(
    names: [&'static str; Tile::ALL.len()],
    source: &'static str,
    bindings: &'static [Binding],
) -> [GpuKernel; Tile::ALL.len()] {
    [tiled(names[0], source, bindings, 0), tiled(names[1], source, bindings, 1), tiled(names[2], source, bindings, 2)]
}

const fn sketch(name: &'static str, source: &'static str) -> GpuKernel {
    tiled(name, source, &[Uniform, Read, Read, Read, Read, Write, Write, Write, Write], 2)
}

const fn nearest_probes(name: &'static str, tile: usize) -> GpuKernel {
    let source = wgsl!("nearest_probes", "shared/tile", "shared/product_tile", "shared/products_f32");
    tiled(name, source, &[Uniform, Read, Read, Read, Write, Write], tile)
}

const fn centroid_means(name: &'static str, constants: &'static [(&'static str, f64)]) -> GpuKernel {
    let bindings = &[Uniform, Read, Read, Write, Write, Write, Write];
    GpuKernel { name, source: wgsl!("centroid_means"), bindings, constants, matrices: None }
}

/// By [`Metric`](crate::factory::Metric), then by [`Tile`].
pub(super) static NEAREST_CENTROID: [[GpuKernel; Tile::ALL.len()]; 2] = [
    by_tile(
        ["nearest_centroid_l2_128x128", "nearest_centroid_l2_64x128", "nearest_centroid_l2_64x64"],
        wgsl!("nearest_centroid", "shared/tile", "shared/product_tile", "shared/products_f32", "shared/metric_l2"),
        &[Uniform, Read, Read, Read, Read, Write, Write, Write],
    ),
    by_tile(
        ["nearest_centroid_ip_128x128", "nearest_centroid_ip_64x128", "nearest_centroid_ip_64x64"],
        wgsl!("nearest_centroid", "shared/tile", "shared/product_tile", "shared/products_f32", "shared/metric_ip"),
        &[Uniform, Read, Read, Read, Read, Write, Write, Write],
    ),
];
/// For few rows and for many: the last and the first [`Tile`].
pub(super) static NEAREST_PROBES: [GpuKernel; 2] =
    [nearest_probes("nearest_probes_64x64", 2), nearest_probes("nearest_probes_128x128", 0)];
/// By [`Metric`](crate::factory::Metric), with the smallest [`Tile`].
pub(super) static SKETCH: [GpuKernel; 2] = [
    sketch(
        "sketch_l2",
        wgsl!("sketch", "shared/tile", "shared/product_tile", "shared/products_f32", "shared/metric_l2"),
    ),
    sketch(
        "sketch_ip",
        wgsl!("sketch", "shared/tile", "shared/product_tile", "shared/products_f32", "shared/metric_ip"),
    ),
];
/// Composed of a metric and of what shares are.
macro_rules! bounds {
    ($names:expr, $shares:literal, $metric:literal) => {
        by_tile(
            $names,
            wgsl!(
                "bounds",
                "shared/tile",
                "shared/product_tile",
                concat!("shared/products_", $shares),
                concat!("shared/shares_", $shares),
                concat!("shared/metric_", $metric)
            ),
            &[Uniform, Read, Read, Read, Read, Read, Read, Read, Write],
        )
    };
}

/// Of floats, then of bytes, by [`Metric`](crate::factory::Metric), then by [`Tile`].
pub(super) static BOUNDS: [[[GpuKernel; Tile::ALL.len()]; 2]; 2] = [
    [
        bounds!(["bounds_l2_128x128", "bounds_l2_64x128", "bounds_l2_64x64"], "f32", "l2"),
        bounds!(["bounds_ip_128x128", "bounds_ip_64x128", "bounds_ip_64x64"], "f32", "ip"),
    ],
    [
        bounds!(["bounds_l2_i8_128x128", "bounds_l2_i8_64x128", "bounds_l2_i8_64x64"], "i8", "l2"),
        bounds!(["bounds_ip_i8_128x128", "bounds_ip_i8_64x128", "bounds_ip_i8_64x64"], "i8", "ip"),
    ],
];
/// Composed of a metric and of what matrices are.
macro_rules! bounds_of_halves {
    ($size:literal, $metric:literal) => {
        GpuKernel {
            matrices: Some($size),
            ..tiled(
                concat!("bounds_", $metric, "_f16_", $size),
                wgsl!(
                    concat!("shared/matrices_", $size),
                    "bounds",
                    "shared/tile",
                    "shared/matrix_tile",
                    "shared/shares_f16",
                    concat!("shared/metric_", $metric)
                ),
                &[Uniform, Read, Read, Read, Read, Read, Read, Read, Write],
                2,
            )
        }
    };
}

/// By [`Matrices`](super::matrices::Matrices), then by [`Metric`](crate::factory::Metric), with the smallest [`Tile`].
pub(super) static BOUNDS_OF_HALVES: [[GpuKernel; 2]; 2] = [
    [bounds_of_halves!(8, "l2"), bounds_of_halves!(8, "ip")],
    [bounds_of_halves!(16, "l2"), bounds_of_halves!(16, "ip")],
];
pub(super) static COMPARE: GpuKernel = GpuKernel {
    name: "compare",
    source: wgsl!("compare"),
    bindings: &[Uniform, Read, Read, Read, Read, Write],
    constants: &[],
    matrices: None,
};
pub(super) static CENTROID_UPDATE: GpuKernel = GpuKernel {
    name: "centroid_update",
    source: wgsl!("centroid_update"),
    bindings: &[Uniform, Read, Read, Read, Write, Write, Write, Write],
    constants: &[("BLOCK", UPDATE_BLOCK as f64)],
    matrices: None,
};
/// For few centroids a group and for many.
pub(super) static CENTROID_MEANS: [GpuKernel; 2] = [
    centroid_means("centroid_means_32", &[("NUDGE", NUDGE as f64), ("LANES", 32.0)]),
    centroid_means("centroid_means_256", &[("NUDGE", NUDGE as f64), ("LANES", 256.0)]),
];
pub(super) static CENTROID_TABLE: GpuKernel = GpuKernel {
    name: "centroid_table",
    source: wgsl!("centroid_table"),
    bindings: &[Uniform, Read, Write, Write, Write],
    constants: &[],
    matrices: None,
};
pub(super) static EXACT_TOPK: [[GpuKernel; 2]; 2] =
    by_metric_and_rows!("exact_topk"; &[Uniform, Read, Read, Read, Read, Write, Write]);
pub(super) static DISTANCE_SUBSET: [[GpuKernel; 2]; 2] =
    by_metric_and_rows!("distance_subset"; &[Uniform, Read, Read, Read, Write]);
pub(super) static BLEND: [GpuKernel; 2] = by_rows!("blend"; &[Uniform, Read, Read, Read, Read, Write, Write, Write]);
pub(super) static L2_NORMALIZE: GpuKernel = GpuKernel {
    name: "l2_normalize",
    source: wgsl!("l2_normalize"),
    bindings: &[Uniform, Read, Write],
    constants: &[],
    matrices: None,
};
pub(super) static FAST_SCAN: GpuKernel = GpuKernel {
    name: "fast_scan",
    source: wgsl!("fast_scan"),
    bindings: &[Uniform, Read, Read, Read, Read, Read, Write, Write],
    constants: &[],
    matrices: None,
};
pub(super) static LIST_RANGES: GpuKernel = GpuKernel {
    name: "list_ranges",
    source: wgsl!("list_ranges"),
    bindings: &[Uniform, Read, Read, Write, Write, Write, Write, Write],
    constants: &[],
    matrices: None,
};
pub(super) static LOOKUP_TABLES: GpuKernel = GpuKernel {
    name: "lookup_tables",
    source: wgsl!("lookup_tables"),
    bindings: &[Uniform, Read, Read, Read, Read, Write, Write, Write, Write],
    constants: &[],
    matrices: None,
};
pub(super) static SELECT_TOPK: GpuKernel = GpuKernel {
    name: "select_topk",
    source: wgsl!("select_topk"),
    bindings: &[Uniform, Read, Read, Read, Write, Write],
    constants: &[],
    matrices: None,
};
pub(super) static CODEBOOKS: GpuKernel = GpuKernel {
    name: "codebooks",
    source: wgsl!("codebooks"),
    bindings: &[Uniform, Read, Write],
    constants: &[],
    matrices: None,
};
pub(super) static PQ_ENCODE: GpuKernel = GpuKernel {
    name: "pq_encode",
    source: wgsl!("pq_encode", "shared/row_plain"),
    bindings: &[Uniform, Read, Read, Write],
    constants: &[],
    matrices: None,
};
pub(super) static PQ_ENCODE_RESIDUAL: GpuKernel = GpuKernel {
    name: "pq_encode_residual",
    source: wgsl!("pq_encode", "shared/row_residual"),
    bindings: &[Uniform, Read, Read, Write, Read, Read],
    constants: &[],
    matrices: None,
};
pub(super) static PQ_UPDATE: GpuKernel = GpuKernel {
    name: "pq_update",
    source: wgsl!("pq_update"),
    bindings: &[Uniform, Read, Read, Read, Write, Write, Write, Write],
    constants: &[("BLOCK", PQ_BLOCK as f64)],
    matrices: None,
};

/// Every composed kernel, for tools that translate or inspect them.
pub fn kernels() -> Vec<&'static GpuKernel> {
    let mut kernels = vec![
        &COMPARE,
        &CENTROID_UPDATE,
        &CENTROID_TABLE,
        &LIST_RANGES,
        &LOOKUP_TABLES,
        &FAST_SCAN,
        &SELECT_TOPK,
        &CODEBOOKS,
        &PQ_ENCODE,
        &PQ_ENCODE_RESIDUAL,
        &PQ_UPDATE,
        &L2_NORMALIZE,
    ];
    kernels.extend(NEAREST_CENTROID.as_flattened());
    kernels.extend(&NEAREST_PROBES);
    kernels.extend(&SKETCH);
    kernels.extend(&CENTROID_MEANS);
    kernels.extend(BOUNDS.as_flattened().as_flattened());
    kernels.extend(BOUNDS_OF_HALVES.as_flattened());
    kernels.extend(EXACT_TOPK.as_flattened());
    kernels.extend(DISTANCE_SUBSET.as_flattened());
    kernels.extend(&BLEND);
    kernels
}

/// Defines host structs that lie in memory as the WGSL structs of the same name do. A test compares the two.
macro_rules! wgsl_struct {
    ($(#[$meta:meta])* $name:ident { $($field:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name { $(pub $field: u32),+ }

        #[cfg(test)]
        impl $name {
            pub(crate) fn layout() -> crate::device::gpu::kernel::layouts::Layout {
                (stringify!($name), vec![$((stringify!($field), std::mem::offset_of!($name, $field))),+], size_of::<$name>())
            }
        }
    };
}
pub(super) use wgsl_struct;

#[cfg(test)]
pub(crate) mod layouts {
    use super::super::{
        blend, centroid_means, centroid_table, centroid_update, codebooks, compare, distance_subset, exact_topk,
        fast_scan, l2_normalize, list_ranges, lookup_tables, pq_encode, pq_update, select_topk, sketch, tasks, tiles,
    };
    use super::*;

    /// Name, (field, offset) in order, size.
    pub(crate) type Layout = (&'static str, Vec<(&'static str, usize)>, usize);

    fn check(kernel: &GpuKernel, layout: Layout) {
        let module = naga::front::wgsl::parse_str(kernel.source).expect("kernel parses");
        let (name, fields, size) = layout;
        let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name));
        let (_, ty) = found.unwrap_or_else(|| panic!("{}: no struct {name}", kernel.name));
        let naga::TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is no struct") };
        let there: Vec<_> = members.iter().map(|m| (m.name.as_deref().unwrap_or(""), m.offset as usize)).collect();
        assert_eq!(there, fields, "{}: fields of {name}", kernel.name);
        assert_eq!(*span as usize, size, "{}: size of {name}", kernel.name);
    }

    #[test]
    fn host_structs_match_the_shaders() {
        check(&NEAREST_CENTROID[0][0], tiles::Params::layout());
        check(&NEAREST_CENTROID[0][0], tiles::Found::layout());
        check(&NEAREST_PROBES[0], tiles::Params::layout());
        check(&SKETCH[0], tiles::Params::layout());
        check(&SKETCH[0], sketch::Side::layout());
        check(&BOUNDS[0][0][0], tiles::Params::layout());
        check(&BOUNDS[0][0][0], sketch::Side::layout());
        check(&BOUNDS_OF_HALVES[0][0], tiles::Params::layout());
        check(&COMPARE, compare::Params::layout());
        check(&COMPARE, tiles::Found::layout());
        check(&CENTROID_UPDATE, centroid_update::Params::layout());
        check(&CENTROID_MEANS[0], centroid_means::Params::layout());
        check(&CENTROID_MEANS[0], centroid_means::Split::layout());
        check(&CENTROID_TABLE, centroid_table::Params::layout());
        check(&EXACT_TOPK[0][0], exact_topk::Params::layout());
        check(&FAST_SCAN, fast_scan::Params::layout());
        check(&LIST_RANGES, list_ranges::Params::layout());
        check(&LIST_RANGES, list_ranges::Arrival::layout());
        for kernel in [&EXACT_TOPK[0][0], &FAST_SCAN, &LIST_RANGES] {
            check(kernel, tasks::Task::layout());
            check(kernel, tasks::Visit::layout());
        }
        check(&LOOKUP_TABLES, lookup_tables::Params::layout());
        check(&DISTANCE_SUBSET[0][0], distance_subset::Params::layout());
        check(&SELECT_TOPK, select_topk::Params::layout());
        check(&L2_NORMALIZE, l2_normalize::Params::layout());
        check(&BLEND[0], blend::Params::layout());
        check(&CODEBOOKS, codebooks::Params::layout());
        check(&PQ_ENCODE, pq_encode::Params::layout());
        check(&PQ_UPDATE, pq_update::Params::layout());
    }
}
