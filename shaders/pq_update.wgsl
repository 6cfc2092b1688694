// Adds sub-vectors, their squared errors and counts to the sums of their codes. Two entry points, in this order:
//   sum_blocks  tallies each column of a block of rows, one invocation a column
//   add_blocks  adds up the blocks' tallies, one invocation a column and code
// Every tally and every sum has one writer that goes by the order of the rows, so one input gives one result.

struct Params {
  rows: u32,
  stride: u32,      // floats a row
  subs: u32,        // sub-quantizers
  dsub: u32,        // floats a sub-vector
  sums_stride: u32, // floats a centroid's sum
  blocks: u32,      // of BLOCK rows
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> codebooks: array<f32>; // [dsub][4][subs][4]
// Tallies (sum, squared error, count, unused) of each block: [blocks][16][columns].
@group(0) @binding(4) var<storage, read_write> work: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> counts: array<u32>;
@group(0) @binding(7) var<storage, read_write> costs: array<f32>;

override BLOCK: u32;

const LANES: u32 = 64u;
const CENTROIDS: u32 = 16u;

// An invocation uses its own column of these alone: no barriers.
var<workgroup> tallies: array<vec4<f32>, 1024>; // [CENTROIDS][LANES]

@compute @workgroup_size(64)
fn sum_blocks(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let columns = params.subs * params.dsub;
  let column = workgroup.y * LANES + lane;
  if column >= columns { return; }
  for (var code = 0u; code < CENTROIDS; code++) { tallies[code * LANES + lane] = vec4<f32>(); }
  let sub = column / params.dsub;
  let j = column % params.dsub;
  let words = (params.subs + 7u) / 8u;
  let first = workgroup.x * BLOCK;
  for (var row = first; row < min(first + BLOCK, params.rows); row++) {
    let code = (codes[row * words + sub / 8u] >> (4u * (sub % 8u))) & 15u;
    let x = rows[row * params.stride + column];
    let error = x - codebooks[((4u * j + code / 4u) * params.subs + sub) * 4u + code % 4u];
    tallies[code * LANES + lane] += vec4(x, error * error, 1.0, 0.0); // a block's counts are exact as floats
  }
  for (var code = 0u; code < CENTROIDS; code++) {
    work[(workgroup.x * CENTROIDS + code) * columns + column] = tallies[code * LANES + lane];
  }
}

@compute @workgroup_size(64)
fn add_blocks(@builtin(global_invocation_id) id: vec3<u32>) {
  let columns = params.subs * params.dsub;
  let column = id.x;
  let code = id.y;
  if column >= columns { return; }
  let centroid = column / params.dsub * CENTROIDS + code;
  let j = column % params.dsub;
  var sum = 0.0;
  for (var block = 0u; block < params.blocks; block++) {
    sum += work[(block * CENTROIDS + code) * columns + column].x;
  }
  sums[centroid * params.sums_stride + j] += sum;
  if j != 0u { return; }
  // A centroid's first column also gathers what belongs to the whole sub-vector.
  var count = 0u;
  var cost = 0.0;
  for (var block = 0u; block < params.blocks; block++) {
    let at = (block * CENTROIDS + code) * columns + column;
    count += u32(work[at].z);
    for (var i = 0u; i < params.dsub; i++) { cost += work[at + i].y; }
  }
  counts[centroid] += count;
  costs[centroid] += cost;
}
