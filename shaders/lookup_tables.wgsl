// u8 look-up tables of queries, with the biases and the scale of their sums. Two entry points, in this order:
//   measure   finds where the sums of each list of a query lie
//   quantize  finds one scale for all lists of a query, and rounds entries and biases
// Both have one workgroup a query and list, and both make the entries anew, which costs less than to keep them.
//
// An invocation has a whole sub-quantizer: its sixteen entries are a matrix, which stays in registers.

struct Params {
  visits: u32, // queries × lists
  lists: u32,  // a query
  tables: u32, // a query: 1, or one a list
  subs: u32,   // sub-quantizers
  dsub: u32,   // floats a sub-vector
  stride: u32, // floats a query and a coarse centroid
  entry: u32,  // DISTANCE, PRODUCT or RESIDUAL
  flags: u32,
}

const DISTANCE: u32 = 0u; // ‖x − r‖²
const PRODUCT: u32 = 1u;  // x · r
const RESIDUAL: u32 = 2u; // ‖r‖² − 2 y · r for y = x − c

const HAS_LISTS: u32 = 1u;
const BIASED: u32 = 2u;  // a list's distance is added to its sums
const BOUNDED: u32 = 4u; // sums stay within 16 bits

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<f32>;
@group(0) @binding(2) var<storage, read> codebooks: array<vec4<f32>>; // [dsub][4][subs], four centroids each
@group(0) @binding(3) var<storage, read> centroids: array<f32>;
@group(0) @binding(4) var<storage, read> probes: array<u32>; // [visits], NONE where no list was found
// [visits] of (sum of least entries, bias, greatest span, sum of spans).
@group(0) @binding(5) var<storage, read_write> spans: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> tables: array<u32>; // [queries][tables][subs, one more if odd][4]
@group(0) @binding(7) var<storage, read_write> biases: array<u32>;
@group(0) @binding(8) var<storage, read_write> scales: array<vec2<f32>>; // offset and step of each query

const NONE: u32 = 0xffffffffu;
const LANES: u32 = 256u;
const LARGEST: f32 = 3.0e38;

var<workgroup> lanes: array<vec4<f32>, 256>;

struct Visit {
  number: u32,
  query: u32,
  place: u32,
  list: u32,
  here: bool,
}

fn visit_of(workgroup: vec3<u32>, grid: vec3<u32>) -> Visit {
  let number = workgroup.y * grid.x + workgroup.x;
  let here = number < params.visits;
  var list = 0u;
  if here && (params.flags & HAS_LISTS) != 0u { list = probes[number]; }
  return Visit(number, number / params.lists, number % params.lists, list, here);
}

fn add_terms(sums: vec4<f32>, x: f32, r: vec4<f32>) -> vec4<f32> {
  switch params.entry {
    case DISTANCE: {
      let difference = vec4(x) - r;
      return fma(difference, difference, sums);
    }
    case PRODUCT: { return fma(vec4(x), r, sums); }
    default: { return fma(r, r - vec4(2.0 * x), sums); }
  }
}

fn entries_of(visit: Visit, sub: u32) -> mat4x4<f32> {
  var entries = mat4x4<f32>();
  for (var j = 0u; j < params.dsub; j++) {
    let column = sub * params.dsub + j;
    var x = queries[visit.query * params.stride + column];
    if params.entry == RESIDUAL { x -= centroids[visit.list * params.stride + column]; }
    let at = 4u * j * params.subs + sub;
    entries = mat4x4<f32>(add_terms(entries[0], x, codebooks[at]),
                          add_terms(entries[1], x, codebooks[at + params.subs]),
                          add_terms(entries[2], x, codebooks[at + 2u * params.subs]),
                          add_terms(entries[3], x, codebooks[at + 3u * params.subs]));
  }
  return entries;
}

fn least_of(entries: mat4x4<f32>) -> f32 {
  let least = min(min(entries[0], entries[1]), min(entries[2], entries[3]));
  return min(min(least.x, least.y), min(least.z, least.w));
}

fn greatest_of(entries: mat4x4<f32>) -> f32 {
  let greatest = max(max(entries[0], entries[1]), max(entries[2], entries[3]));
  return max(max(greatest.x, greatest.y), max(greatest.z, greatest.w));
}

// Sums of x, y and w over all lanes, and the greatest z.
fn gather(lane: u32, mine: vec4<f32>) -> vec4<f32> {
  lanes[lane] = mine;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if lane < half {
      let a = lanes[lane];
      let b = lanes[lane + half];
      lanes[lane] = vec4(a.x + b.x, a.y + b.y, max(a.z, b.z), a.w + b.w);
    }
    workgroupBarrier();
  }
  return lanes[0];
}

// The greatest of each component over all lanes.
fn greatest_over_lanes(lane: u32, mine: vec4<f32>) -> vec4<f32> {
  workgroupBarrier(); // what was gathered before is read
  lanes[lane] = mine;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if lane < half { lanes[lane] = max(lanes[lane], lanes[lane + half]); }
    workgroupBarrier();
  }
  return lanes[0];
}

@compute @workgroup_size(256)
fn measure(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let visit = visit_of(workgroup, grid);
  var mine = vec4<f32>();
  let found = visit.here && visit.list != NONE;
  if found && visit.place < params.tables {
    for (var sub = lane; sub < params.subs; sub += LANES) {
      let entries = entries_of(visit, sub);
      let least = least_of(entries);
      let span = greatest_of(entries) - least;
      mine += vec4(least, 0.0, 0.0, span);
      mine.z = max(mine.z, span);
    }
  }
  if found && (params.flags & BIASED) != 0u {
    for (var i = lane; i < params.subs * params.dsub; i += LANES) {
      let x = queries[visit.query * params.stride + i];
      let c = centroids[visit.list * params.stride + i];
      mine.y += select((x - c) * (x - c), x * c, params.entry == PRODUCT);
    }
  }
  let span = gather(lane, mine);
  if visit.here && lane == 0u { spans[visit.number] = span; }
}

// The span of a list: that of its own table or of the only one.
fn span_of(query: u32, place: u32) -> vec4<f32> {
  let own = spans[query * params.lists + place];
  if params.tables > 1u { return own; }
  let only = spans[query * params.lists];
  return vec4(only.x, own.y, only.z, only.w);
}

fn is_found(query: u32, place: u32) -> bool {
  return (params.flags & HAS_LISTS) == 0u || probes[query * params.lists + place] != NONE;
}

fn rounded(entry: f32, least: f32, scale: f32) -> u32 {
  return u32((entry - least) * scale + 0.5);
}

fn bytes_of(entries: vec4<f32>, least: f32, scale: f32) -> u32 {
  return rounded(entries.x, least, scale) | (rounded(entries.y, least, scale) << 8u)
       | (rounded(entries.z, least, scale) << 16u) | (rounded(entries.w, least, scale) << 24u);
}

@compute @workgroup_size(256)
fn quantize(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
  let visit = visit_of(workgroup, grid);
  // (−least bias, greatest span, −least offset, unused): the greatest of each.
  var mine = vec4(-LARGEST, 0.0, -LARGEST, 0.0);
  if visit.here {
    for (var place = lane; place < params.lists; place += LANES) {
      if is_found(visit.query, place) {
        let span = span_of(visit.query, place);
        mine = max(mine, vec4(-span.y, span.z, -(span.y + span.x), 0.0));
      }
    }
  }
  let bounds = greatest_over_lanes(lane, mine);
  var total = 0.0;
  if visit.here {
    for (var place = lane; place < params.lists; place += LANES) {
      if is_found(visit.query, place) {
        let span = span_of(visit.query, place);
        total = max(total, span.y + bounds.x + span.w);
      }
    }
  }
  total = greatest_over_lanes(lane, vec4(total)).x;
  if !visit.here { return; }

  var scale = LARGEST;
  if bounds.y > 0.0 { scale = 255.0 / bounds.y; }
  if (params.flags & BOUNDED) != 0u && total > 0.0 { scale = min(scale, 65535.0 / total); }
  let flat = scale >= LARGEST; // nothing differs from anything
  scale = select(scale, 0.0, flat);
  let found = visit.list != NONE;
  if lane == 0u {
    if visit.place == 0u { scales[visit.query] = vec2(-bounds.z, select(1.0 / scale, 0.0, flat)); }
    let span = span_of(visit.query, visit.place);
    // A table's least sum is part of a list's bias only where each list has its own table.
    var bias = rounded(span.y, -bounds.x, scale);
    if params.tables > 1u { bias = rounded(span.y + span.x, -bounds.z, scale); }
    biases[visit.number] = select(0u, bias, found);
  }
  if visit.place >= params.tables || !found { return; }
  let table = (visit.query * params.tables + visit.place) * (params.subs + params.subs % 2u) * 4u;
  for (var sub = lane; sub < params.subs; sub += LANES) {
    let entries = entries_of(visit, sub);
    let least = least_of(entries);
    let at = table + 4u * sub;
    tables[at] = bytes_of(entries[0], least, scale);
    tables[at + 1u] = bytes_of(entries[1], least, scale);
    tables[at + 2u] = bytes_of(entries[2], least, scale);
    tables[at + 3u] = bytes_of(entries[3], least, scale);
  }
}
