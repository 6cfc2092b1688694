// A tile of one block on matrix units. Rows hold 16-bit floats, their products add up in 32 bits. The size of a matrix says
// shared/matrices_8 or _16. Behind the last row and the last centroid there are zeros to whole blocks, and a row is whole
// matrices wide: nothing here is bounded.
//
// Each subgroup multiplies units of two matrices of rows, one below the other, by one of centroids, read where they lie.
// Which invocation has which product then is the GPU's affair, so they go through workgroup memory to their owners.

struct Invocation {
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
}

alias Words = f16;
alias Products = mat4x4<f32>;

const ACROSS: u32 = BLOCK / SIZE; // matrices side by side
const UNITS: u32 = ACROSS * ACROSS / 2u;

var<workgroup> block: array<f32, BLOCK * BLOCK>; // [row][centroid]: 16 KiB

// The products of one unit, to their place in the block.
fn multiply(unit: u32, first_row: u32, first_centroid: u32) {
  let upper_row = unit / ACROSS * 2u * SIZE;
  let lower_row = upper_row + SIZE;
  let centroid = unit % ACROSS * SIZE;
  let upper_line = (first_row + upper_row) * params.stride;
  let lower_line = (first_row + lower_row) * params.stride;
  let centroid_line = (first_centroid + centroid) * params.stride;
  var upper = SumMatrix();
  var lower = SumMatrix();
  for (var k = 0u; k < params.stride; k += SIZE) {
    let theirs = coopLoad<CentroidMatrix>(&shifted[centroid_line + k], params.stride);
    upper = coopMultiplyAdd(coopLoadT<RowMatrix>(&rows[upper_line + k], params.stride), theirs, upper);
    lower = coopMultiplyAdd(coopLoadT<RowMatrix>(&rows[lower_line + k], params.stride), theirs, lower);
  }
  coopStoreT(upper, &block[upper_row * BLOCK + centroid], BLOCK);
  coopStoreT(lower, &block[lower_row * BLOCK + centroid], BLOCK);
}

// Four centroids' products with a row of the block.
fn four_products(row: u32, tx: u32) -> vec4<f32> {
  let at = row * BLOCK + 4u * tx;
  return vec4(block[at], block[at + 1u], block[at + 2u], block[at + 3u]);
}

fn product_tile(at: Invocation, first_row: u32, first_centroid: u32) -> ProductTile {
  workgroupBarrier(); // the block before is read
  for (var unit = at.subgroup; unit < UNITS; unit += at.subgroups) { multiply(unit, first_row, first_centroid); }
  workgroupBarrier();
  let tx = at.lane % 16u;
  let row = 4u * (at.lane / 16u);
  var tile = ProductTile();
  tile.m00 = transpose(Products(four_products(row, tx), four_products(row + 1u, tx),
                                four_products(row + 2u, tx), four_products(row + 3u, tx)));
  return tile;
}
