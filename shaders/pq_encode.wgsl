// The 4-bit code of each row: of every sub-vector the nearest of its sixteen centroids, by direct squared distances,
// of equally near ones the lowest. Eight codes a word, the first in the lowest bits.
//
// A workgroup takes TILE rows × TILE sub-quantizers. Neighbouring invocations have neighbouring sub-quantizers, so rows
// and codebooks are both read in one piece; each has four rows, so a centroid is read once for four of them. The
// sixteen distances of a row are a matrix, which stays in registers where an array would not.

struct Params {
  rows: u32,
  stride: u32, // floats a row
  subs: u32,   // sub-quantizers
  dsub: u32,   // floats a sub-vector
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> codebooks: array<vec4<f32>>; // [dsub][4][subs], four centroids each
@group(0) @binding(3) var<storage, read_write> codes: array<u32>;

const TILE: u32 = 32u;
const WORDS: u32 = 4u; // words of codes that a tile makes of a row

var<workgroup> tile_codes: array<u32, 1024>; // [TILE rows][TILE sub-quantizers]

fn add_squares(distances: mat4x4<f32>, centroids: mat4x4<f32>, x: f32) -> mat4x4<f32> {
  let a = vec4(x) - centroids[0];
  let b = vec4(x) - centroids[1];
  let c = vec4(x) - centroids[2];
  let d = vec4(x) - centroids[3];
  return mat4x4<f32>(fma(a, a, distances[0]), fma(b, b, distances[1]),
                     fma(c, c, distances[2]), fma(d, d, distances[3]));
}

// A distance and its centroid's number: the better of two.
struct Best {
  distance: f32,
  code: u32,
}

fn better(a: Best, b: Best) -> Best {
  if b.distance < a.distance || (b.distance == a.distance && b.code < a.code) { return b; }
  return a;
}

fn nearest(distances: mat4x4<f32>) -> u32 {
  var best = distances[0];
  var code = vec4(0u, 1u, 2u, 3u);
  code = select(code, vec4(4u, 5u, 6u, 7u), distances[1] < best);
  best = min(best, distances[1]);
  code = select(code, vec4(8u, 9u, 10u, 11u), distances[2] < best);
  best = min(best, distances[2]);
  code = select(code, vec4(12u, 13u, 14u, 15u), distances[3] < best);
  best = min(best, distances[3]);
  let low = better(Best(best.x, code.x), Best(best.y, code.y));
  let high = better(Best(best.z, code.z), Best(best.w, code.w));
  return better(low, high).code;
}

@compute @workgroup_size(256)
fn encode(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let first_row = (workgroup.y * grid.x + workgroup.x) * TILE;
  if first_row >= params.rows { return; }
  let first_sub = workgroup.z * TILE;
  let sub = first_sub + lane % TILE;
  let place = 4u * (lane / TILE);
  if sub < params.subs {
    let row = first_row + place;
    let last = params.rows - 1u;
    var distances_0 = mat4x4<f32>();
    var distances_1 = mat4x4<f32>();
    var distances_2 = mat4x4<f32>();
    var distances_3 = mat4x4<f32>();
    for (var j = 0u; j < params.dsub; j++) {
      let at = 4u * j * params.subs + sub;
      let centroids = mat4x4<f32>(codebooks[at], codebooks[at + params.subs],
                                  codebooks[at + 2u * params.subs], codebooks[at + 3u * params.subs]);
      let column = sub * params.dsub + j;
      distances_0 = add_squares(distances_0, centroids, element(row, column));
      distances_1 = add_squares(distances_1, centroids, element(min(row + 1u, last), column));
      distances_2 = add_squares(distances_2, centroids, element(min(row + 2u, last), column));
      distances_3 = add_squares(distances_3, centroids, element(min(row + 3u, last), column));
    }
    let at = place * TILE + lane % TILE;
    tile_codes[at] = nearest(distances_0);
    tile_codes[at + TILE] = nearest(distances_1);
    tile_codes[at + 2u * TILE] = nearest(distances_2);
    tile_codes[at + 3u * TILE] = nearest(distances_3);
  }
  workgroupBarrier();
  let row = lane / WORDS;
  let word = lane % WORDS;
  let words = (params.subs + 7u) / 8u;
  if lane < TILE * WORDS && first_row + row < params.rows && first_sub / 8u + word < words {
    var packed = 0u;
    for (var i = 0u; i < min(8u, params.subs - first_sub - 8u * word); i++) {
      packed |= tile_codes[row * TILE + 8u * word + i] << (4u * i);
    }
    codes[(first_row + row) * words + first_sub / 8u + word] = packed;
  }
}
