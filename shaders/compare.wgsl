// The nearest of the centroids that are marked for each row. A workgroup a row, an invocation a centroid.
//
// Scores are summed over the dimensions in the order of shared/product_tile, so that they are the same as there.

struct Params {
  rows: u32,
  nlist: u32,
  stride: u32, // vec4s a row
  unused: u32,
}

struct Found {
  score: f32,
  label: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> shifted: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> marks: array<u32>; // [row][centroid / 32]
@group(0) @binding(5) var<storage, read_write> best: array<Found>;

const LOWEST: f32 = -3.4028234e38;
const LANES: u32 = 64u;

var<workgroup> found: array<Found, LANES>;

// Of equal scores the lowest label is taken. Scores that overflowed compare with nothing, so they are never found.
fn better(a: Found, b: Found) -> Found {
  if b.score > a.score || (b.score == a.score && b.label < a.label) { return b; }
  return a;
}

fn score(row: u32, centroid: u32) -> f32 {
  var product = 0.0;
  for (var i = 0u; i < params.stride; i++) {
    let x = rows[row * params.stride + i];
    let c = shifted[centroid * params.stride + i];
    product = fma(x.w, c.w, fma(x.z, c.z, fma(x.y, c.y, fma(x.x, c.x, product))));
  }
  return product + bias[centroid];
}

@compute @workgroup_size(LANES)
fn compare(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y * grid.x + workgroup.x;
  if row >= params.rows { return; }
  let words = (params.nlist + 31u) / 32u;
  var own = Found(LOWEST, 0u);
  for (var word = lane; word < words; word += LANES) {
    var left = marks[row * words + word];
    while left != 0u {
      let label = 32u * word + firstTrailingBit(left);
      left &= left - 1u;
      own = better(own, Found(score(row, label), label));
    }
  }
  found[lane] = own;
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span { found[lane] = better(found[lane], found[lane + span]); }
  }
  if lane == 0u { best[row] = found[0]; }
}
