// Centroids made ready for comparing rows with them by L2: c − μ and −(½‖c − μ‖² + μ · (c − μ)), with the centroids'
// mean μ. Three entry points, in this order:
//   sum_blocks    sums of blocks of the centroids
//   add_blocks    the mean
//   shift         the centroids less the mean, and their biases, a workgroup each
//
// Scores order centroids as the distance does whatever μ is, so what rounding takes from it is no loss.

struct Params {
  nlist: u32,
  stride: u32, // vec4s a centroid
  blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> means: array<vec4<f32>>; // each block's share of the mean, then all of it
@group(0) @binding(3) var<storage, read_write> shifted: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;

var<workgroup> partial: array<vec4<f32>, 256>;

// Sixteen columns (vec4s) by sixteen centroids at a time; workgroup.y walks over the columns. Each centroid's share of
// the mean is added up, which cannot overflow.
@compute @workgroup_size(256)
fn sum_blocks(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = workgroup.y * 16u + lane % 16u;
  let share = 1.0 / f32(params.nlist);
  var sum = vec4<f32>();
  if column < params.stride {
    for (var i = workgroup.x * 16u + lane / 16u; i < params.nlist; i += params.blocks * 16u) {
      sum += share * centroids[i * params.stride + column];
    }
  }
  partial[lane] = sum;
  workgroupBarrier();
  if lane < 16u && column < params.stride {
    var total = vec4<f32>();
    for (var i = 0u; i < 16u; i++) { total += partial[i * 16u + lane]; }
    means[workgroup.x * params.stride + column] = total;
  }
}

@compute @workgroup_size(64)
fn add_blocks(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  if column >= params.stride { return; }
  var mean = vec4<f32>();
  for (var block = 0u; block < params.blocks; block++) { mean += means[block * params.stride + column]; }
  means[column] = mean;
}

var<workgroup> partial_bias: array<f32, 64>;

@compute @workgroup_size(64)
fn shift(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let centroid = workgroup.y * grid.x + workgroup.x;
  if centroid >= params.nlist { return; }
  let first = centroid * params.stride;
  var sum = 0.0;
  for (var quad = lane; quad < params.stride; quad += 64u) {
    let mean = means[quad];
    let short = centroids[first + quad] - mean;
    shifted[first + quad] = short;
    sum += dot(short, 0.5 * short + mean);
  }
  partial_bias[lane] = sum;
  for (var span = 32u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span { partial_bias[lane] += partial_bias[lane + span]; }
  }
  if lane == 0u { bias[centroid] = -partial_bias[0]; }
}
