// Keys of every centroid for each row, for select_topk to pick the nprobe nearest: the same scores as
// nearest_centroid's, written out negated because the smallest key comes first.

@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> candidates: array<u32>;

fn write_keys(products: mat4x4<f32>, first_row: u32, first_centroid: u32) {
  for (var i = 0u; i < 4u; i++) {
    let centroid = first_centroid + i;
    if centroid < params.nlist {
      for (var j = 0u; j < 4u; j++) {
        let row = first_row + j;
        if row < params.rows {
          keys[row * params.nlist + centroid] = -(products[i][j] + bias[centroid]);
          candidates[row * params.nlist + centroid] = centroid;
        }
      }
    }
  }
}

@compute @workgroup_size(256)
fn score(@builtin(workgroup_id) workgroup: vec3<u32>, at: Invocation) {
  let first_row = workgroup.y * BLOCK * ROW_BLOCKS;
  let first_centroid = workgroup.x * BLOCK * CENTROID_BLOCKS;
  let row = first_row + 4u * (at.lane / 16u);
  let centroid = first_centroid + 4u * (at.lane % 16u);
  let tile = product_tile(at, first_row, first_centroid);
  write_keys(tile.m00, row, centroid);
  if CENTROID_BLOCKS > 1u { write_keys(tile.m01, row, centroid + BLOCK); }
  if ROW_BLOCKS > 1u { write_keys(tile.m10, row + BLOCK, centroid); }
  if ROW_BLOCKS > 1u && CENTROID_BLOCKS > 1u { write_keys(tile.m11, row + BLOCK, centroid + BLOCK); }
}
