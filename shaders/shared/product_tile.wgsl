// A tile in registers. What a word of a row is, and how it is multiplied, say shared/products_f32 and _i8.
//
// Rows and centroids past the end repeat the last one, so nothing asks for bounds in here; words past the end are
// zeros.
//
// Accumulators are never indexed in a loop because they would end up in memory on some drivers, and four words a turn are
// written out because WGSL's compilers do not unroll: what the loop adds to the multiply-adds is then paid once in 256.

struct Invocation {
  @builtin(local_invocation_index) lane: u32,
}

const COLUMNS: u32 = 4u; // vec4s of each line that are staged at a time; two blocks a side take 16 KiB

// [block, column][word of the column][quad of lines]: a vec4 holds one word of four lines. Quads are permuted by `place`.
var<workgroup> row_tile: array<array<array<Words, 16>, 4>, COLUMNS * ROW_BLOCKS>;
var<workgroup> centroid_tile: array<array<array<Words, 16>, 4>, COLUMNS * CENTROID_BLOCKS>;

// Neighbouring invocations write different columns of one quad: these must not lie in the same memory banks.
fn place(quad: u32, column: u32) -> u32 {
  return (quad % 16u) ^ (2u * column);
}

// Adds the products of one word. All reads stand first: they are under way together.
fn add_word(tile: ptr<function, ProductTile>, column: u32, k: u32, tx: u32, ty: u32) {
  let r0 = row_tile[column][k][ty];
  let c0 = centroid_tile[column][k][tx];
  let r1 = row_tile[COLUMNS * (ROW_BLOCKS - 1u) + column][k][ty];
  let c1 = centroid_tile[COLUMNS * (CENTROID_BLOCKS - 1u) + column][k][tx];
  (*tile).m00 = add_outer((*tile).m00, c0, r0);
  if ROW_BLOCKS > 1u { (*tile).m10 = add_outer((*tile).m10, c0, r1); }
  if CENTROID_BLOCKS > 1u { (*tile).m01 = add_outer((*tile).m01, c1, r0); }
  if ROW_BLOCKS > 1u && CENTROID_BLOCKS > 1u { (*tile).m11 = add_outer((*tile).m11, c1, r1); }
}

// What an invocation stages: one column of four lines, rows' or centroids'.
struct Share {
  of_rows: bool,
  is_idle: bool,
  quad: u32,
  column: u32,
  lines: vec4<u32>, // where each line's column stands
}

fn share_of(lane: u32, first_row: u32, first_centroid: u32) -> Share {
  let of_rows = lane < BLOCK * ROW_BLOCKS;
  let quad = select(lane - BLOCK * ROW_BLOCKS, lane, of_rows) / COLUMNS;
  let first = select(first_centroid, first_row, of_rows) + 4u * quad;
  let last = select(params.nlist, params.rows, of_rows) - 1u;
  let lines = min(vec4(first, first + 1u, first + 2u, first + 3u), vec4(last));
  let column = lane % COLUMNS;
  return Share(of_rows, lane >= BLOCK * (ROW_BLOCKS + CENTROID_BLOCKS), quad, column, lines * params.stride + column);
}

// The share's vec4s, turned: [i] is word i of the four lines.
fn fetch(share: Share, column: u32) -> FourWords {
  let at = share.lines + column;
  if share.is_idle || column + share.column >= params.stride { return FourWords(); }
  if share.of_rows { return turned(rows[at.x], rows[at.y], rows[at.z], rows[at.w]); }
  return turned(shifted[at.x], shifted[at.y], shifted[at.z], shifted[at.w]);
}

// A vec4 is written whole: a write to one component may touch the others, which belong to other invocations then.
fn stage(share: Share, words: FourWords) {
  let at = share.quad / 16u * COLUMNS + share.column;
  let quad = place(share.quad, share.column);
  if share.is_idle { return; }
  if share.of_rows {
    row_tile[at][0][quad] = words[0];
    row_tile[at][1][quad] = words[1];
    row_tile[at][2][quad] = words[2];
    row_tile[at][3][quad] = words[3];
  } else {
    centroid_tile[at][0][quad] = words[0];
    centroid_tile[at][1][quad] = words[1];
    centroid_tile[at][2][quad] = words[2];
    centroid_tile[at][3][quad] = words[3];
  }
}

fn product_tile(at: Invocation, first_row: u32, first_centroid: u32) -> ProductTile {
  let lane = at.lane;
  let share = share_of(lane, first_row, first_centroid);
  var tile = ProductTile();
  var fetched = fetch(share, 0u);
  for (var column = 0u; column < params.stride; column += COLUMNS) {
    workgroupBarrier(); // the tiles of the step before are read
    stage(share, fetched);
    workgroupBarrier();
    fetched = fetch(share, column + COLUMNS); // under way while these are multiplied
    for (var i = 0u; i < COLUMNS; i++) {
      let tx = place(lane % 16u, i);
      let ty = place(lane / 16u, i);
      add_word(&tile, i, 0u, tx, ty);
      add_word(&tile, i, 1u, tx, ty);
      add_word(&tile, i, 2u, tx, ty);
      add_word(&tile, i, 3u, tx, ty);
    }
  }
  return tile;
}
