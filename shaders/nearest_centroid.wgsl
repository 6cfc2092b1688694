// The nearest centroid of each row: product and running maximum in one pass, so the rows × nlist matrix of scores is
// never written. Two entry points: `assign` finds the best of each part of the centroids, `measure` the best of the
// parts, and writes its label and the exact distance to it.
//
// A score is x · (c − μ) + bias with bias = −(½‖c − μ‖² + μ · (c − μ)) for L2, where μ is the centroids' mean: it
// orders centroids as −½‖x − c‖² does, and the shift keeps the products small. For inner product μ and bias are 0.

@group(0) @binding(4) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> parts: array<Found>; // [part][row]
@group(0) @binding(6) var<storage, read_write> labels: array<u32>;
@group(0) @binding(7) var<storage, read_write> distances: array<f32>;

const LOWEST: f32 = -3.4028234e38;

struct Found {
  score: f32,
  label: u32,
}

// Of equal scores the lowest label is taken. Scores that overflowed compare with nothing, so they are never found.
fn better(a: Found, b: Found) -> Found {
  if b.score > a.score || (b.score == a.score && b.label < a.label) { return b; }
  return a;
}

// The best centroid so far of four rows.
struct Best {
  score: vec4<f32>,
  label: vec4<u32>,
}

// Centroids come in rising order and only a higher score wins, so of equal scores the lowest label stays. Those past
// the end repeat the last.
fn consider(best: Best, products: vec4<f32>, centroid: u32) -> Best {
  let label = min(centroid, params.nlist - 1u);
  let score = products + bias[label];
  let wins = score > best.score;
  return Best(select(best.score, score, wins), select(best.label, vec4(label), wins));
}

fn consider_all(best: Best, products: mat4x4<f32>, first: u32) -> Best {
  let two = consider(consider(best, products[0], first), products[1], first + 1u);
  return consider(consider(two, products[2], first + 2u), products[3], first + 3u);
}

@compute @workgroup_size(256)
fn assign(@builtin(workgroup_id) workgroup: vec3<u32>, at: Invocation) {
  let first_row = workgroup.x * BLOCK * ROW_BLOCKS;
  let end = min((workgroup.y + 1u) * params.part, params.nlist);
  let tx = at.lane % 16u;
  let ty = at.lane / 16u;
  var best0 = Best(vec4(LOWEST), vec4(0u));
  var best1 = best0;
  for (var first = workgroup.y * params.part; first < end; first += BLOCK * CENTROID_BLOCKS) {
    let tile = product_tile(at, first_row, first);
    let centroid = first + 4u * tx;
    best0 = consider_all(best0, tile.m00, centroid);
    if ROW_BLOCKS > 1u { best1 = consider_all(best1, tile.m10, centroid); }
    if CENTROID_BLOCKS > 1u { best0 = consider_all(best0, tile.m01, centroid + BLOCK); }
    if ROW_BLOCKS > 1u && CENTROID_BLOCKS > 1u { best1 = consider_all(best1, tile.m11, centroid + BLOCK); }
  }

  // Sixteen invocations hold a best for each row; the tiles' memory is free now and takes them, [row quad][tx].
  workgroupBarrier();
  row_tile[ty / 4u][ty % 4u][tx] = best0.score;
  centroid_tile[ty / 4u][ty % 4u][tx] = bitcast<vec4<f32>>(best0.label);
  if ROW_BLOCKS > 1u {
    row_tile[4u + ty / 4u][ty % 4u][tx] = best1.score;
    centroid_tile[4u + ty / 4u][ty % 4u][tx] = bitcast<vec4<f32>>(best1.label);
  }
  workgroupBarrier();
  if at.lane < BLOCK * ROW_BLOCKS && first_row + at.lane < params.rows {
    let quad = at.lane / 4u;
    var best = Found(LOWEST, 0xffffffffu);
    for (var i = 0u; i < 16u; i++) {
      let score = row_tile[quad / 4u][quad % 4u][i][at.lane % 4u];
      let label = bitcast<vec4<u32>>(centroid_tile[quad / 4u][quad % 4u][i])[at.lane % 4u];
      best = better(best, Found(score, label));
    }
    parts[workgroup.y * params.rows + first_row + at.lane] = best;
  }
}

var<workgroup> partial: array<f32, 256>;

// Sixteen invocations a row add up its distance; 16 rows a workgroup.
@compute @workgroup_size(256)
fn measure(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = (workgroup.y * grid.x + workgroup.x) * 16u + lane / 16u;
  var sum = vec4<f32>();
  if row < params.rows {
    var best = parts[row];
    for (var first = params.part; first < params.nlist; first += params.part) {
      best = better(best, parts[first / params.part * params.rows + row]);
    }
    for (var i = lane % 16u; i < params.stride; i += 16u) {
      sum = add_terms(sum, rows[row * params.stride + i], centroids[best.label * params.stride + i]);
    }
    if lane % 16u == 0u { labels[row] = best.label; }
  }
  partial[lane] = dot(sum, vec4(1.0));
  workgroupBarrier();
  if row < params.rows && lane % 16u == 0u {
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) { total += partial[lane + i]; }
    distances[row] = total;
  }
}
