// The k smallest keys of each segment of candidates, sorted; of equal keys the lower candidate comes first. One
// workgroup a segment. Fewer than k candidates leave (+FLT_MAX, 0xffffffff) behind the last; keys of NaN and infinity
// count for none.
//
// A sorted list of the best so far stands beside a buffer of newcomers. Only a candidate that beats the k-th best
// enters the buffer; when half of it is full it is sorted and merged (bitonic networks both). The order in which
// newcomers arrive changes nothing, because pairs (key, candidate) are totally ordered.

struct Params {
  k: u32,
  width: u32, // the least power of two that holds k, at most 1024
  segments: u32,
  first: u32, // the first segment's number among the results
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> segments: array<vec2<u32>>; // (start, length)
@group(0) @binding(2) var<storage, read> keys: array<u32>; // floats
@group(0) @binding(3) var<storage, read> candidates: array<u32>;
@group(0) @binding(4) var<storage, read_write> top_keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> top_candidates: array<u32>;

const LANES: u32 = 256u;
const BUFFER: u32 = 512u; // twice LANES: a round may bring LANES newcomers on top of LANES waiting ones
const WORST_KEY: f32 = 3.4028234e38;
const NONE: u32 = 0xffffffffu;

var<workgroup> best_key: array<f32, 1024>;
var<workgroup> best_candidate: array<u32, 1024>;
var<workgroup> new_key: array<f32, 512>;
var<workgroup> new_candidate: array<u32, 512>;
var<workgroup> arrivals: atomic<u32>;
var<workgroup> waiting: u32;

fn precedes(key: f32, candidate: u32, other_key: f32, other_candidate: u32) -> bool {
  return key < other_key || (key == other_key && candidate < other_candidate);
}

// One compare-and-swap step of a bitonic network over the buffer: pairs `span` apart, blocks of `block` turn by turn
// rising and falling.
fn sort_step(lane: u32, block: u32, span: u32) {
  let low = 2u * span * (lane / span) + lane % span;
  let high = low + span;
  let rising = (low & block) == 0u;
  if precedes(new_key[high], new_candidate[high], new_key[low], new_candidate[low]) == rising {
    let key = new_key[low];
    let candidate = new_candidate[low];
    new_key[low] = new_key[high];
    new_candidate[low] = new_candidate[high];
    new_key[high] = key;
    new_candidate[high] = candidate;
  }
}

fn merge_step(lane: u32, span: u32) {
  for (var first = 0u; first < params.width / 2u; first += LANES) {
    let i = first + lane;
    let low = 2u * span * (i / span) + i % span;
    let high = low + span;
    if i < params.width / 2u && precedes(best_key[high], best_candidate[high], best_key[low], best_candidate[low]) {
      let key = best_key[low];
      let candidate = best_candidate[low];
      best_key[low] = best_key[high];
      best_candidate[low] = best_candidate[high];
      best_key[high] = key;
      best_candidate[high] = candidate;
    }
  }
}

// Sorts the newcomers and merges them into the best.
fn merge_newcomers(lane: u32, count: u32) {
  for (var first = 0u; first < BUFFER; first += LANES) {
    let i = first + lane;
    if i >= count {
      new_key[i] = WORST_KEY;
      new_candidate[i] = NONE;
    }
  }
  workgroupBarrier();
  for (var block = 2u; block <= BUFFER; block *= 2u) {
    for (var span = block / 2u; span > 0u; span /= 2u) {
      sort_step(lane, block, span);
      workgroupBarrier();
    }
  }
  // The smaller of best[i] and newcomer[width − 1 − i] are the `width` smallest of both, as a bitonic sequence.
  for (var first = 0u; first < params.width; first += LANES) {
    let i = first + lane;
    let other = params.width - 1u - i; // past the end wraps around
    if other < BUFFER {
      if precedes(new_key[other], new_candidate[other], best_key[i], best_candidate[i]) {
        best_key[i] = new_key[other];
        best_candidate[i] = new_candidate[other];
      }
    }
  }
  workgroupBarrier();
  for (var span = params.width / 2u; span > 0u; span /= 2u) {
    merge_step(lane, span);
    workgroupBarrier();
  }
  if lane == 0u {
    atomicStore(&arrivals, 0u);
  }
  workgroupBarrier();
}

@compute @workgroup_size(256)
fn pick(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let segment = workgroup.y * grid.x + workgroup.x;
  if segment >= params.segments { return; }
  let start = segments[segment].x;
  let length = segments[segment].y;
  for (var first = 0u; first < 1024u; first += LANES) {
    best_key[first + lane] = WORST_KEY;
    best_candidate[first + lane] = NONE;
  }
  if lane == 0u {
    atomicStore(&arrivals, 0u);
  }
  workgroupBarrier();
  let rounds = (length + LANES - 1u) / LANES;
  for (var round = 0u; round < rounds; round++) {
    let i = round * LANES + lane;
    if i < length {
      let bits = keys[start + i];
      let key = bitcast<f32>(bits);
      let candidate = candidates[start + i];
      // NaN and infinity are told by their bits: a compiler may take for granted that there are none.
      let finite = (bits & 0x7f800000u) != 0x7f800000u;
      if finite && precedes(key, candidate, best_key[params.k - 1u], best_candidate[params.k - 1u]) {
        let at = atomicAdd(&arrivals, 1u);
        new_key[at] = key;
        new_candidate[at] = candidate;
      }
    }
    workgroupBarrier();
    if lane == 0u {
      waiting = atomicLoad(&arrivals);
    }
    let count = workgroupUniformLoad(&waiting);
    if count > LANES || (round + 1u == rounds && count > 0u) {
      merge_newcomers(lane, count);
    }
  }
  for (var i = lane; i < params.k; i += LANES) {
    let place = (params.first + segment) * params.k + i;
    top_keys[place] = best_key[i];
    top_candidates[place] = best_candidate[i];
  }
}
