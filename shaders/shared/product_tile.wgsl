// One 128 × 128 tile of rows · centroidsᵀ, 256 invocations, 8 × 8 products each.
//
// Rows and centroids past the end count as zeros. The kernel that includes this has bindings 4 and up to itself.
//
// Invocation (tx, ty) owns rows 4·ty.. and 64 + 4·ty.. against centroids 4·tx.. and 64 + 4·tx..; the quads lie 64
// apart so that neighbouring invocations read neighbouring vec4s. Accumulators are mat4x4 because register arrays
// indexed in a loop end up in memory on some drivers.

struct Params {
  rows: u32,
  nlist: u32,
  stride: u32, // vec4s a row
  unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> shifted: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

const TILE: u32 = 128u;
const TILE_QUADS: u32 = 32u; // TILE / 4
const DEPTH: u32 = 16u;      // dimensions staged at a time; DEPTH · TILE floats twice are 16 KiB

// [DEPTH][TILE_QUADS]: component i of quad q at depth k is row 4q + i.
var<workgroup> row_tile: array<vec4<f32>, 512>;
var<workgroup> centroid_tile: array<vec4<f32>, 512>;

// products[i][j] in mat `m_ab`: row a·64 + 4·ty + j against centroid b·64 + 4·tx + i.
struct ProductTile {
  m00: mat4x4<f32>,
  m10: mat4x4<f32>,
  m01: mat4x4<f32>,
  m11: mat4x4<f32>,
}

fn add_outer(acc: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(fma(b, vec4(a.x), acc[0]), fma(b, vec4(a.y), acc[1]),
                     fma(b, vec4(a.z), acc[2]), fma(b, vec4(a.w), acc[3]));
}

// A vec4 is written whole: a write to one component may touch the others, which belong to other invocations then.
// So each invocation reads four lines of one column and writes them turned: 128 such blocks a side.
fn stage_tiles(lane: u32, first_row: u32, first_centroid: u32, depth: u32) {
  let column = depth / 4u + lane % 4u;
  let quad = lane % 128u / 4u;
  let at = lane % 4u * 4u * TILE_QUADS + quad;
  var lines = mat4x4<f32>();
  if lane < 128u {
    let line = first_row + 4u * quad;
    for (var i = 0u; i < 4u; i++) {
      if line + i < params.rows && column < params.stride { lines[i] = rows[(line + i) * params.stride + column]; }
    }
    lines = transpose(lines);
    for (var i = 0u; i < 4u; i++) { row_tile[at + i * TILE_QUADS] = lines[i]; }
  } else {
    let line = first_centroid + 4u * quad;
    for (var i = 0u; i < 4u; i++) {
      if line + i < params.nlist && column < params.stride { lines[i] = shifted[(line + i) * params.stride + column]; }
    }
    lines = transpose(lines);
    for (var i = 0u; i < 4u; i++) { centroid_tile[at + i * TILE_QUADS] = lines[i]; }
  }
}

fn product_tile(lane: u32, first_row: u32, first_centroid: u32) -> ProductTile {
  let tx = lane % 16u;
  let ty = lane / 16u;
  var tile = ProductTile();
  for (var depth = 0u; depth < params.stride * 4u; depth += DEPTH) {
    workgroupBarrier(); // the tiles of the step before are read
    stage_tiles(lane, first_row, first_centroid, depth);
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let r0 = row_tile[k * TILE_QUADS + ty];
      let r1 = row_tile[k * TILE_QUADS + 16u + ty];
      let c0 = centroid_tile[k * TILE_QUADS + tx];
      let c1 = centroid_tile[k * TILE_QUADS + 16u + tx];
      tile.m00 = add_outer(tile.m00, c0, r0);
      tile.m10 = add_outer(tile.m10, c0, r1);
      tile.m01 = add_outer(tile.m01, c1, r0);
      tile.m11 = add_outer(tile.m11, c1, r1);
    }
  }
  return tile;
}
