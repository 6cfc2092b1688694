// Marks the centroids that may be the nearest of each row: those whose bound reaches the score of a guess. The rows ×
// nlist bounds themselves are never written.
//
// Two sketches bound the score from above: the product of what is left of two vectors is at most the product of its
// lengths (Cauchy and Schwarz). Shares are floats, bytes or 16-bit floats, as shared/shares_f32, _i8 and _f16 say.

struct Side {
  rest: f32,
  slack: f32,
  level: f32,
  byte_rest: f32,
  byte_scale: f32,
  half_rest: f32,
  half_scale: f32,
}

// `rows`, `shifted` and `bias` are those of the sketches.
@group(0) @binding(4) var<storage, read> row_sides: array<Side>;
@group(0) @binding(5) var<storage, read> sides: array<Side>;
@group(0) @binding(6) var<storage, read> labels: array<u32>;    // guesses
@group(0) @binding(7) var<storage, read> distances: array<f32>; // to them
@group(0) @binding(8) var<storage, read_write> marks: array<atomic<u32>>; // [row][centroid / 32], zero before

const LOWEST: f32 = -3.4028234e38;

// By their bits: a compiler may take for granted that no float is infinite.
fn odd(scores: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(scores) & vec4(0x7f800000u)) == vec4(0x7f800000u);
}

// Four rows: their rests and scales, and the least scores that are of interest.
struct Four {
  first: u32,
  rest: vec4<f32>,
  scale: vec4<f32>,
  least: vec4<f32>,
}

// The same of one: rest, scale, least score.
fn one_row(at: u32) -> vec3<f32> {
  let row = min(at, params.rows - 1u);
  let side = row_sides[row];
  // The guess's score is as little exact as any.
  let slack = side.slack + sides[labels[row]].slack;
  return vec3(rest_of(side), scale_of(side), score_of(distances[row], side.level) - 2.0 * slack * slack);
}

fn four_rows(first: u32) -> Four {
  let a = one_row(first);
  let b = one_row(first + 1u);
  let c = one_row(first + 2u);
  let d = one_row(first + 3u);
  let least = vec4(a.z, b.z, c.z, d.z);
  return Four(first, vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y), select(least, vec4(LOWEST), odd(least)));
}

// Whether a centroid may be the nearest of each row: a bit in the byte of each that it may be.
fn reached(four: Four, sums: vec4<f32>, centroid: u32) -> u32 {
  if centroid >= params.nlist { return 0u; }
  let side = sides[centroid];
  let products = product_of(sums, four.scale, scale_of(side));
  let bounds = fma(four.rest, vec4(rest_of(side)), products + bias[centroid]);
  // A bound that is no number tells nothing, nor does a least score of that kind.
  let within = (bounds >= four.least) | odd(bounds) | (four.least == vec4(LOWEST));
  let bits = vec4<u32>(within);
  return bits.x | (bits.y << 8u) | (bits.z << 16u) | (bits.w << 24u);
}

fn mark(row: u32, first: u32, bits: u32) {
  if bits == 0u || row >= params.rows { return; }
  atomicOr(&marks[row * ((params.nlist + 31u) / 32u) + first / 32u], bits << (first % 32u));
}

// Marks of four centroids, the first of which is a multiple of four, stand in one word of a row.
fn mark_all(four: Four, products: Products, first: u32) {
  var bits = reached(four, vec4<f32>(products[0]), first);
  bits |= reached(four, vec4<f32>(products[1]), first + 1u) << 1u;
  bits |= reached(four, vec4<f32>(products[2]), first + 2u) << 2u;
  bits |= reached(four, vec4<f32>(products[3]), first + 3u) << 3u;
  if bits == 0u { return; }
  mark(four.first, first, bits & 15u);
  mark(four.first + 1u, first, (bits >> 8u) & 15u);
  mark(four.first + 2u, first, (bits >> 16u) & 15u);
  mark(four.first + 3u, first, bits >> 24u);
}

@compute @workgroup_size(256)
fn reach(@builtin(workgroup_id) workgroup: vec3<u32>, at: Invocation) {
  let first_row = workgroup.x * BLOCK * ROW_BLOCKS;
  let end = min((workgroup.y + 1u) * params.part, params.nlist);
  let row = first_row + 4u * (at.lane / 16u);
  for (var first = workgroup.y * params.part; first < end; first += BLOCK * CENTROID_BLOCKS) {
    let tile = product_tile(at, first_row, first);
    let centroid = first + 4u * (at.lane % 16u);
    // Read again for each tile: kept across the products they would take too many registers.
    let upper = four_rows(row);
    mark_all(upper, tile.m00, centroid);
    if CENTROID_BLOCKS > 1u { mark_all(upper, tile.m01, centroid + BLOCK); }
    if ROW_BLOCKS > 1u {
      let lower = four_rows(row + BLOCK);
      mark_all(lower, tile.m10, centroid);
      if CENTROID_BLOCKS > 1u { mark_all(lower, tile.m11, centroid + BLOCK); }
    }
  }
}
