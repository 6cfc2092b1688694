// Distances of each query to rows of its own choice. Sixteen invocations share a pair of query and row; a workgroup
// takes 16 pairs.
//
// Rows may be spread over several buffers, with a dispatch each: a pair is written by the one that has its row, and one
// without a row by the first.

struct Params {
  stride: u32, // vec4s a row
  subset: u32, // rows a query
  pairs: u32,  // queries · subset
  first_row: u32, // number of the first row in this buffer
  rows: u32,   // in this buffer
  keys: u32,   // 1 where the smallest is to be the nearest whatever the metric
  worst: f32,  // stands where there is no row
  unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>;
// Binding 2 holds the rows: shared/rows_f32 or shared/rows_f16.
@group(0) @binding(3) var<storage, read> candidates: array<u32>;
@group(0) @binding(4) var<storage, read_write> distances: array<f32>;

const LANES: u32 = 16u; // a pair
const NONE: u32 = 0xffffffffu;

var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn measure(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
  let pair = (workgroup.y * grid.x + workgroup.x) * 16u + index / LANES;
  let lane = index % LANES;
  var candidate = NONE;
  if pair < params.pairs {
    candidate = candidates[pair];
  }
  let here = candidate >= params.first_row && candidate - params.first_row < params.rows && candidate != NONE;
  var sum = vec4<f32>();
  if here {
    let query = pair / params.subset * params.stride;
    let row = (candidate - params.first_row) * params.stride;
    for (var quad = lane; quad < params.stride; quad += LANES) {
      sum = add_terms(sum, queries[query + quad], row_quad(row + quad));
    }
  }
  partial[index] = dot(sum, vec4(1.0));
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span {
      partial[index] += partial[index + span];
    }
  }
  if lane == 0u && pair < params.pairs {
    if here {
      distances[pair] = select(partial[index], key_of(partial[index]), params.keys == 1u);
    } else if candidate == NONE && params.first_row == 0u {
      distances[pair] = params.worst;
    }
  }
}
