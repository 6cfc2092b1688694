// RVC's blend: each frame is drawn towards its neighbours. Two entry points, in this order, a workgroup a frame:
//   weigh  turns the neighbours' scores into weights, (1 / score)^power, and writes the frame's own share
//   add    adds the neighbours' shares; a dispatch for each buffer that rows are spread over
//
// Frames and blends are words, because a frame of NaN or infinity stays as it is, bit for bit.

struct Params {
  frames: u32,
  stride: u32, // floats a frame and a row
  k: u32,
  first_row: u32, // number of the first row in this buffer
  rows: u32,      // in this buffer
  index_rate: f32, // share of the neighbours
  power: f32,
  unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> frames: array<u32>;
// Binding 2 holds the rows: shared/rows_f32 or shared/rows_f16.
@group(0) @binding(3) var<storage, read> neighbors: array<u32>; // [frame][k] rows
@group(0) @binding(4) var<storage, read> scores: array<f32>;    // [frame][k] squared distances
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;
@group(0) @binding(6) var<storage, read_write> outcomes: array<u32>;
@group(0) @binding(7) var<storage, read_write> blended: array<u32>;

const LANES: u32 = 64u;
const NONE: u32 = 0xffffffffu;
const BLENDED: u32 = 0u;
const PASSED_THROUGH: u32 = 1u;
const WITHOUT_NEIGHBORS: u32 = 2u;
const FAR: f32 = 3.4028234e38;

var<workgroup> flags: atomic<u32>;
var<workgroup> partial: array<f32, 64>;

// By its bits: a compiler may take for granted that no float is infinite.
fn is_finite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}

fn counts(slot: u32) -> bool {
  return neighbors[slot] != NONE && is_finite(bitcast<u32>(scores[slot]));
}

// (least / score)^power: relative to the least score, so that neither tiny scores overflow nor huge ones vanish.
fn weight_of(score: f32, least: f32) -> f32 {
  if score <= least { return 1.0; }
  let ratio = min(least / score, 1.0); // a division may be rounded beyond
  if ratio <= 0.0 { return 0.0; }
  return select(pow(ratio, params.power), ratio * ratio, params.power == 2.0);
}

@compute @workgroup_size(64)
fn weigh(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let frame = workgroup.y * grid.x + workgroup.x;
  if frame >= params.frames { return; }
  if lane == 0u {
    atomicStore(&flags, 0u);
  }
  workgroupBarrier();
  for (var i = lane; i < params.stride; i += LANES) {
    if !is_finite(frames[frame * params.stride + i]) {
      atomicOr(&flags, 1u);
    }
  }
  var least = FAR;
  for (var i = lane; i < params.k; i += LANES) {
    if counts(frame * params.k + i) {
      atomicOr(&flags, 2u);
      least = min(least, scores[frame * params.k + i]);
    }
  }
  partial[lane] = least;
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span {
      partial[lane] = min(partial[lane], partial[lane + span]);
    }
  }
  workgroupBarrier();
  least = max(partial[0], 0.0);
  let found = atomicLoad(&flags);
  let outcome = select(select(WITHOUT_NEIGHBORS, BLENDED, found == 2u), PASSED_THROUGH, (found & 1u) == 1u);
  workgroupBarrier(); // the least score is read
  var sum = 0.0;
  for (var i = lane; i < params.k; i += LANES) {
    if counts(frame * params.k + i) {
      sum += weight_of(scores[frame * params.k + i], least);
    }
  }
  partial[lane] = sum;
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    workgroupBarrier();
    if lane < span {
      partial[lane] += partial[lane + span];
    }
  }
  workgroupBarrier();
  let share = params.index_rate / max(partial[0], 1.0);
  for (var i = lane; i < params.k; i += LANES) {
    let slot = frame * params.k + i;
    var weight = 0.0;
    if outcome == BLENDED && counts(slot) {
      weight = share * weight_of(scores[slot], least);
    }
    weights[slot] = weight;
  }
  for (var i = lane; i < params.stride; i += LANES) {
    var own = frames[frame * params.stride + i];
    if outcome == BLENDED {
      own = bitcast<u32>((1.0 - params.index_rate) * bitcast<f32>(own));
    }
    blended[frame * params.stride + i] = own;
  }
  if lane == 0u {
    outcomes[frame] = outcome;
  }
}

@compute @workgroup_size(64)
fn add(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
  let frame = workgroup.y * grid.x + workgroup.x;
  if frame >= params.frames { return; }
  if outcomes[frame] != BLENDED { return; }
  let quads = params.stride / 4u;
  for (var quad = lane; quad < quads; quad += LANES) {
    let at = frame * params.stride + 4u * quad;
    var sum = bitcast<vec4<f32>>(vec4(blended[at], blended[at + 1u], blended[at + 2u], blended[at + 3u]));
    for (var i = 0u; i < params.k; i++) {
      let weight = weights[frame * params.k + i];
      let row = neighbors[frame * params.k + i] - params.first_row;
      if weight > 0.0 && row < params.rows {
        sum += weight * row_quad(row * quads + quad);
      }
    }
    let words = bitcast<vec4<u32>>(sum);
    blended[at] = words.x;
    blended[at + 1u] = words.y;
    blended[at + 2u] = words.z;
    blended[at + 3u] = words.w;
  }
}
