// Rows scaled to unit length; zero rows stay zero, and rows of NaN or infinity stay as they are. A workgroup a row.
//
// A row is divided by its largest magnitude first, so that no sum of squares overflows, and none but zero's vanishes.

struct Params {
  rows: u32,
  stride: u32, // vec4s a row
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> unit: array<vec4<f32>>;

var<workgroup> shared_max: array<f32, 64>;
var<workgroup> shared_sum: array<f32, 64>;
var<workgroup> odd: atomic<u32>;

// By its bits: a compiler may take for granted that no float is infinite.
fn is_finite(quad: vec4<f32>) -> bool {
  return all((bitcast<vec4<u32>>(quad) & vec4(0x7f800000u)) != vec4(0x7f800000u));
}

@compute @workgroup_size(64)
fn normalize_rows(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y * grid.x + workgroup.x;
  if row >= params.rows { return; }
  let first = row * params.stride;
  if lane == 0u {
    atomicStore(&odd, 0u);
  }
  workgroupBarrier();
  var largest = vec4<f32>();
  for (var quad = lane; quad < params.stride; quad += 64u) {
    if is_finite(rows[first + quad]) {
      largest = max(largest, abs(rows[first + quad]));
    } else {
      atomicStore(&odd, 1u);
    }
  }
  shared_max[lane] = max(max(largest.x, largest.y), max(largest.z, largest.w));
  for (var span = 32u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span {
      shared_max[lane] = max(shared_max[lane], shared_max[lane + span]);
    }
  }
  workgroupBarrier();
  let magnitude = shared_max[0];
  var squares = 0.0;
  if magnitude > 0.0 {
    for (var quad = lane; quad < params.stride; quad += 64u) {
      let scaled = rows[first + quad] / magnitude;
      squares += dot(scaled, scaled);
    }
  }
  shared_sum[lane] = squares;
  for (var span = 32u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span {
      shared_sum[lane] += shared_sum[lane + span];
    }
  }
  workgroupBarrier();
  let norm = sqrt(shared_sum[0]);
  let as_it_is = magnitude == 0.0 || atomicLoad(&odd) == 1u;
  for (var quad = lane; quad < params.stride; quad += 64u) {
    var scaled = rows[first + quad];
    if !as_it_is {
      scaled = scaled / magnitude / norm;
    }
    unit[first + quad] = scaled;
  }
}
