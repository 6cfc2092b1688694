// Rows scaled to unit length; zero rows stay zero. A workgroup a row.
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

@compute @workgroup_size(64)
fn normalize_rows(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y * grid.x + workgroup.x;
  if row >= params.rows { return; }
  let first = row * params.stride;
  var largest = vec4<f32>();
  for (var quad = lane; quad < params.stride; quad += 64u) {
    largest = max(largest, abs(rows[first + quad]));
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
  for (var quad = lane; quad < params.stride; quad += 64u) {
    var scaled = vec4<f32>();
    if magnitude > 0.0 {
      scaled = rows[first + quad] / magnitude / norm;
    }
    unit[first + quad] = scaled;
  }
}
