// One 128 × 128 tile of rows · centroidsᵀ, 256 invocations, 8 × 8 products each.
//
// The kernel that includes this declares `rows` and `shifted`, both array<vec4<f32>> with `params.stride` vec4s a
// row, and params.rows and params.nlist. Rows and centroids past the end count as zeros.
//
// Invocation (tx, ty) owns rows 4·ty.. and 64 + 4·ty.. against centroids 4·tx.. and 64 + 4·tx..; the quads lie 64
// apart so that neighbouring invocations read neighbouring vec4s. Accumulators are mat4x4 because register arrays
// indexed in a loop end up in memory on some drivers.

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

fn stage_tiles(lane: u32, first_row: u32, first_centroid: u32, depth: u32) {
  // 128 lines of 4 vec4s for each side: every invocation moves two of each and turns them by components.
  for (var i = lane; i < TILE * 4u; i += 256u) {
    let line = i / 4u;
    let column = depth / 4u + i % 4u;
    var from_rows = vec4<f32>();
    var from_centroids = vec4<f32>();
    if column < params.stride {
      if first_row + line < params.rows { from_rows = rows[(first_row + line) * params.stride + column]; }
      if first_centroid + line < params.nlist {
        from_centroids = shifted[(first_centroid + line) * params.stride + column];
      }
    }
    let at = (i % 4u) * 4u * TILE_QUADS + line / 4u;
    let part = line % 4u;
    row_tile[at][part] = from_rows.x;
    row_tile[at + TILE_QUADS][part] = from_rows.y;
    row_tile[at + 2u * TILE_QUADS][part] = from_rows.z;
    row_tile[at + 3u * TILE_QUADS][part] = from_rows.w;
    centroid_tile[at][part] = from_centroids.x;
    centroid_tile[at + TILE_QUADS][part] = from_centroids.y;
    centroid_tile[at + 2u * TILE_QUADS][part] = from_centroids.z;
    centroid_tile[at + 3u * TILE_QUADS][part] = from_centroids.w;
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
