// New centroids of a k-means: the mean of each cluster's rows. An empty cluster becomes a part of a populous one, and
// where no rows are to spare its centroid stays. Two entry points, in this order:
//   scan_counts   counts the spare rows and the empty clusters before each cluster, one workgroup
//   place_means   writes the new centroids, a workgroup each
//
// All rows of a cluster but one are to spare. Systematic sampling draws as many of them as clusters are empty, evenly
// spread from a random start: a cluster gives with a probability that grows with its size, never more than it has, and
// every invocation finds out by itself who gives to whom.

struct Params {
  nlist: u32,
  stride: u32, // vec4s a centroid
  dim: u32,    // floats a centroid
  seed: u32,   // where the sampling starts, in 2⁻³² of a step
}

struct Before {
  spare: u32,
  empty: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> old: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
// What is before each cluster, and all of it at [nlist]. Where no cluster is empty only that is written.
@group(0) @binding(4) var<storage, read_write> before: array<Before>;
@group(0) @binding(5) var<storage, read_write> centroids: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> tally: array<atomic<u32>>; // splits, whether sums overflowed

override NUDGE: f32;

fn plus(a: Before, b: Before) -> Before {
  return Before(a.spare + b.spare, a.empty + b.empty);
}

fn of_count(count: u32) -> Before {
  return Before(max(count, 1u) - 1u, u32(count == 0u));
}

var<workgroup> chunk_totals: array<Before, 256>;

// Each invocation counts a chunk of clusters, then writes what is before each of them.
@compute @workgroup_size(256)
fn scan_counts(@builtin(local_invocation_index) lane: u32) {
  let chunk = (params.nlist + 255u) / 256u;
  let first = min(lane * chunk, params.nlist);
  let last = min(first + chunk, params.nlist);
  var total = Before();
  for (var cluster = first; cluster < last; cluster++) { total = plus(total, of_count(counts[cluster])); }
  chunk_totals[lane] = total;
  workgroupBarrier();
  var sum = Before();
  for (var i = 0u; i < lane; i++) { sum = plus(sum, chunk_totals[i]); }
  var totals = sum;
  for (var i = lane; i < 256u; i++) { totals = plus(totals, chunk_totals[i]); }
  if lane == 0u {
    before[params.nlist] = totals;
    atomicAdd(&tally[0], min(totals.spare, totals.empty));
  }
  if totals.empty == 0u { return; }
  for (var cluster = first; cluster < last; cluster++) {
    before[cluster] = sum;
    sum = plus(sum, of_count(counts[cluster]));
  }
}

// The high word of a · b + c.
fn high_word(a: u32, b: u32, c: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  let word = (other << 16u) | (low & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u) + u32(word > 0xffffffffu - c);
}

// a / b in 2⁻³², rounded up, for a < b: a long division.
fn fraction(a: u32, b: u32) -> u32 {
  var quotient = 0u;
  var rest = a;
  for (var i = 0u; i < 32u; i++) {
    let fits = rest >= b - rest; // 2 · rest may not fit a word
    quotient = 2u * quotient + u32(fits);
    rest = select(rest, rest - b, fits) + rest;
  }
  return quotient + u32(rest > 0u);
}

struct Sampling {
  totals: Before,
  rate: u32, // empty clusters a spare row, in 2⁻³²; where that is less than 1
}

// How many empty clusters are served by the rows to spare before one of them.
fn served(sampling: Sampling, spare: u32) -> u32 {
  if sampling.totals.empty >= sampling.totals.spare { return spare; }
  return min(high_word(spare, sampling.rate, params.seed), sampling.totals.empty);
}

// The last cluster before whose rows to spare no more than `number` empty ones are served.
fn donor_of(sampling: Sampling, number: u32) -> u32 {
  var donor = 0u;
  var end = params.nlist;
  while end - donor > 1u {
    let middle = donor + (end - donor) / 2u;
    if served(sampling, before[middle].spare) <= number { donor = middle; } else { end = middle; }
  }
  return donor;
}

// Whose mean a cluster gets, how far from it, and by which Walsh function: these are orthogonal, and the first is
// faiss's alternation.
struct Place {
  source: u32,
  nudge: f32,
  walsh: u32,
}

fn place_of(cluster: u32) -> Place {
  let totals = before[params.nlist];
  if totals.empty == 0u { return Place(cluster, 0.0, 0u); }
  let sampling = Sampling(totals, fraction(totals.empty, totals.spare));
  if counts[cluster] > 0u {
    let gives = served(sampling, before[cluster + 1u].spare) > served(sampling, before[cluster].spare);
    return Place(cluster, select(0.0, -NUDGE, gives), 1u);
  }
  let number = before[cluster].empty;
  if number >= totals.spare { return Place(cluster, 0.0, 0u); }
  let donor = donor_of(sampling, number);
  let part = number - served(sampling, before[donor].spare) + 1u;
  // There are as many directions as dimensions; parts beyond come nearer.
  return Place(donor, NUDGE / f32((part + params.dim - 1u) / params.dim), part);
}

// By its bits: a compiler may take for granted that no float is infinite.
fn is_finite(quad: vec4<f32>) -> bool {
  return all((bitcast<vec4<u32>>(quad) & vec4(0x7f800000u)) != vec4(0x7f800000u));
}

@compute @workgroup_size(64)
fn place_means(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let cluster = workgroup.y * grid.x + workgroup.x;
  if cluster >= params.nlist { return; }
  let place = place_of(cluster);
  let count = counts[place.source];
  for (var quad = lane; quad < params.stride; quad += 64u) {
    var centroid = old[cluster * params.stride + quad];
    if count > 0u {
      let sum = sums[place.source * params.stride + quad];
      if !is_finite(sum) { atomicOr(&tally[1], 1u); }
      let odd = countOneBits((4u * quad + vec4(0u, 1u, 2u, 3u)) & vec4(place.walsh)) % 2u;
      centroid = sum / f32(count) * (1.0 + place.nudge * (1.0 - 2.0 * vec4<f32>(odd)));
    }
    centroids[cluster * params.stride + quad] = centroid;
  }
}
