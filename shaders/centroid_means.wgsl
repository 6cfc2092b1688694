// New centroids of a k-means, or of several side by side, whose centroids are groups: the mean of each cluster's rows,
// and halves of populous clusters for the empty ones of their group. Two entry points, in this order:
//   place_means  writes the means, a workgroup each; a cluster without rows keeps its centroid
//   halve        halves clusters one after the other, a workgroup a group

struct Params {
  nlist: u32,  // centroids of all groups
  group: u32,  // centroids of one
  stride: u32, // vec4s a centroid
  seed: u32,
}

struct Split {
  cluster: u32, // an empty one
  donor: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> old: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> splits: array<Split>; // of each group, from its first cluster's place on
@group(0) @binding(5) var<storage, read_write> centroids: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> tally: array<atomic<u32>>; // splits, whether sums overflowed

override NUDGE: f32;
override LANES: u32; // of a workgroup that halves: 256 at most

// By its bits: a compiler may take for granted that no float is infinite.
fn is_finite(quad: vec4<f32>) -> bool {
  return all((bitcast<vec4<u32>>(quad) & vec4(0x7f800000u)) != vec4(0x7f800000u));
}

@compute @workgroup_size(64)
fn place_means(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let cluster = workgroup.y * grid.x + workgroup.x;
  if cluster >= params.nlist { return; }
  let count = counts[cluster];
  for (var at = cluster * params.stride + lane; at < (cluster + 1u) * params.stride; at += 64u) {
    var centroid = old[at];
    if count > 0u {
      let sum = sums[at];
      if !is_finite(sum) { atomicOr(&tally[1], 1u); }
      centroid = sum / f32(count);
    }
    centroids[at] = centroid;
  }
}

fn spare_of(count: u32) -> u32 {
  return max(count, 1u) - 1u;
}

// O'Neill's PCG as a hash of 32 bits (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(input: u32) -> u32 {
  let state = input * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

// The high word of a · b.
fn high_word(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}

var<workgroup> totals: array<vec2<u32>, 256>;
var<workgroup> given: vec2<u32>; // the lane that gives, and how many rows

// Sums of the values of all lanes up to each, itself included.
fn scan(lane: u32, value: vec2<u32>) {
  totals[lane] = value;
  for (var reach = 1u; reach < LANES; reach *= 2u) {
    workgroupBarrier();
    var below = vec2<u32>();
    if lane >= reach { below = totals[lane - reach]; }
    workgroupBarrier();
    totals[lane] += below;
  }
}

// The cluster that has row number `row` of those to spare from a cluster on.
fn owner_of(row: u32, start: u32) -> u32 {
  var before = row;
  var cluster = start;
  while before >= spare_of(counts[cluster]) {
    before -= spare_of(counts[cluster]);
    cluster++;
  }
  return cluster;
}

// A column of the centroids is one lane's, which goes by the order of the splits: no barriers. faiss's alternation.
fn nudge_apart(lane: u32, begin: u32, end: u32) {
  let away = NUDGE * vec4(1.0, -1.0, 1.0, -1.0);
  for (var quad = lane; quad < params.stride; quad += LANES) {
    for (var i = begin; i < end; i++) {
      let at = splits[i].donor * params.stride + quad;
      let centroid = centroids[at];
      centroids[splits[i].cluster * params.stride + quad] = centroid * (1.0 + away);
      centroids[at] = centroid * (1.0 - away);
    }
  }
}

// Each lane has a chunk of the group's clusters, whose counts no other lane reads or writes. It knows how many rows are
// to spare, all but one of each cluster, in its chunk and before it: the lane that has the row that is drawn gives.
@compute @workgroup_size(LANES)
fn halve(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let first = (workgroup.y * grid.x + workgroup.x) * params.group;
  if first >= params.nlist { return; }
  let chunk = (params.group + LANES - 1u) / LANES;
  let start = first + min(lane * chunk, params.group);
  let end = first + min((lane + 1u) * chunk, params.group);
  var own = vec2<u32>(); // rows to spare, empty clusters
  for (var cluster = start; cluster < end; cluster++) {
    own += vec2(spare_of(counts[cluster]), u32(counts[cluster] == 0u));
  }
  scan(lane, own);
  let all = workgroupUniformLoad(&totals[LANES - 1u]);
  let wanted = min(all.x, all.y);
  if wanted == 0u { return; }

  var before = totals[lane] - own;
  for (var cluster = start; cluster < end; cluster++) {
    if counts[cluster] > 0u { continue; }
    splits[first + before.y].cluster = cluster;
    before.y++;
  }
  storageBarrier();
  for (var i = 0u; i < wanted; i++) {
    let cluster = splits[first + i].cluster;
    // A split leaves one row less to spare. What is before this lane wraps around, and is none of its own.
    let drawn = high_word(pcg(pcg(cluster) + params.seed), all.x - i) - before.x;
    if drawn < own.x {
      let donor = owner_of(drawn, start);
      let half = counts[donor] / 2u;
      counts[donor] -= half;
      splits[first + i].donor = donor;
      given = vec2(lane, half);
    }
    let gift = workgroupUniformLoad(&given);
    let taker = (cluster - first) / chunk;
    if lane == taker { counts[cluster] = gift.y; }
    own.x += u32(lane == taker) * (gift.y - 1u) - u32(lane == gift.x) * gift.y;
    before.x += u32(lane > taker) * (gift.y - 1u) - u32(lane > gift.x) * gift.y;
  }
  if lane == 0u { atomicAdd(&tally[0], wanted); }
  storageBarrier();
  nudge_apart(lane, first, first + wanted);
}
