// One tile of rows · centroidsᵀ: ROW_BLOCKS × CENTROID_BLOCKS blocks of 64 × 64, 256 invocations, 4 × 4 products of
// each block an invocation. shared/product_tile computes it in registers, shared/matrix_tile on matrix units: both have a
// `product_tile`, and an `Invocation` with what that must know. The kernel that includes this has bindings 4 and up to
// itself.
//
// Invocation (tx, ty) owns rows 4·ty.. against centroids 4·tx.. of each block, so that neighbouring invocations read
// neighbouring vec4s.

struct Params {
  rows: u32,
  nlist: u32,
  stride: u32, // `Words` a row
  part: u32,   // centroids a workgroup
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Words>;
@group(0) @binding(2) var<storage, read> shifted: array<Words>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

override ROW_BLOCKS: u32;      // 1 or 2
override CENTROID_BLOCKS: u32; // 1 or 2
const BLOCK: u32 = 64u;

// products[i][j] of `m_ab`: row 64·a + 4·ty + j against centroid 64·b + 4·tx + i.
struct ProductTile {
  m00: Products,
  m10: Products,
  m01: Products,
  m11: Products,
}
