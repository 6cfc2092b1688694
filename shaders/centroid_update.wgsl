// Adds each row, its distance and a count of one to the sums of its label. Rows are put in the order of their labels
// by a stable counting sort and each label's run is added up by one workgroup, so there are no float atomics and one
// input gives one result. Four entry points, in this order:
//   count_labels  blocks × nlist histogram, one workgroup a block of rows
//   scan_blocks   turns each label's column of the histogram into the rank of its first row in each block
//   scan_labels   turns the labels' totals into the place where each label's run begins
//   sort_rows     writes row numbers in the order of their labels
//   sum_runs      adds up the runs

struct Params {
  rows: u32,
  nlist: u32,
  stride: u32, // vec4s a row
  blocks: u32, // of BLOCK rows
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> distances: array<f32>;
// [blocks][nlist] histogram, zero before; then [nlist + 1] run starts; then [rows] sorted row numbers.
@group(0) @binding(4) var<storage, read_write> work: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> counts: array<u32>;
@group(0) @binding(7) var<storage, read_write> costs: array<f32>;

override BLOCK: u32;

fn run_start(label: u32) -> u32 {
  return params.blocks * params.nlist + label;
}

fn sorted_row(i: u32) -> u32 {
  return params.blocks * params.nlist + params.nlist + 1u + i;
}

@compute @workgroup_size(256)
fn count_labels(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = workgroup.x * BLOCK;
  for (var i = lane; i < BLOCK && first + i < params.rows; i += 256u) {
    atomicAdd(&work[workgroup.x * params.nlist + labels[first + i]], 1u);
  }
}

@compute @workgroup_size(256)
fn scan_blocks(@builtin(global_invocation_id) id: vec3<u32>) {
  let label = id.x;
  if label >= params.nlist { return; }
  var rank = 0u;
  for (var block = 0u; block < params.blocks; block++) {
    let at = block * params.nlist + label;
    let here = atomicLoad(&work[at]);
    atomicStore(&work[at], rank);
    rank += here;
  }
  atomicStore(&work[run_start(label)], rank);
  counts[label] += rank;
}

var<workgroup> chunk_totals: array<u32, 256>;

// One workgroup: each invocation sums a chunk of labels, then writes its chunk's starts.
@compute @workgroup_size(256)
fn scan_labels(@builtin(local_invocation_index) lane: u32) {
  let chunk = (params.nlist + 255u) / 256u;
  let first = min(lane * chunk, params.nlist);
  let last = min(first + chunk, params.nlist);
  var total = 0u;
  for (var label = first; label < last; label++) { total += atomicLoad(&work[run_start(label)]); }
  chunk_totals[lane] = total;
  workgroupBarrier();
  var start = 0u;
  for (var i = 0u; i < lane; i++) { start += chunk_totals[i]; }
  for (var label = first; label < last; label++) {
    let size = atomicLoad(&work[run_start(label)]);
    atomicStore(&work[run_start(label)], start);
    start += size;
  }
  if lane == 255u { atomicStore(&work[run_start(params.nlist)], params.rows); }
}

override BLOCK_LABELS: u32 = BLOCK;
var<workgroup> block_labels: array<u32, BLOCK_LABELS>;

// A row's rank among the rows of its label in its block is found by looking at the rows before it: stable, and cheap
// beside the assignment that made the labels.
@compute @workgroup_size(256)
fn sort_rows(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = workgroup.x * BLOCK;
  let size = min(BLOCK, params.rows - first);
  for (var i = lane; i < size; i += 256u) { block_labels[i] = labels[first + i]; }
  workgroupBarrier();
  for (var i = lane; i < size; i += 256u) {
    let label = block_labels[i];
    var rank = 0u;
    for (var j = 0u; j < i; j++) { rank += u32(block_labels[j] == label); }
    let place = atomicLoad(&work[run_start(label)]) + atomicLoad(&work[workgroup.x * params.nlist + label]) + rank;
    atomicStore(&work[sorted_row(place)], first + i);
  }
}

var<workgroup> partial: array<vec4<f32>, 256>;
var<workgroup> partial_cost: array<f32, 16>;

// Sixteen columns (vec4s) by sixteen rows at a time; workgroup.z walks over the columns.
@compute @workgroup_size(256)
fn sum_runs(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let label = workgroup.y * grid.x + workgroup.x;
  if label >= params.nlist { return; }
  let start = atomicLoad(&work[run_start(label)]);
  let end = atomicLoad(&work[run_start(label + 1u)]);
  let column = workgroup.z * 16u + lane % 16u;
  var sum = vec4<f32>();
  var cost = 0.0;
  for (var i = start + lane / 16u; i < end; i += 16u) {
    let row = atomicLoad(&work[sorted_row(i)]);
    if column < params.stride { sum += rows[row * params.stride + column]; }
    cost += distances[row];
  }
  partial[lane] = sum;
  if lane % 16u == 0u { partial_cost[lane / 16u] = cost; }
  workgroupBarrier();
  if lane < 16u && column < params.stride && start < end {
    var total = vec4<f32>();
    for (var i = 0u; i < 16u; i++) { total += partial[i * 16u + lane]; }
    sums[label * params.stride + column] += total;
  }
  if lane == 0u && workgroup.z == 0u {
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) { total += partial_cost[i]; }
    costs[label] += total;
  }
}
