// The nearest centroid of each row: product and running maximum in one pass, so the rows × nlist matrix of scores is
// never written. Two entry points: `assign` finds labels, `measure` writes the exact distance to the label's centroid.
//
// A score is x · (c − μ) + bias with bias = −(½‖c − μ‖² + μ · (c − μ)) for L2, where μ is the centroids' mean: it
// orders centroids as −½‖x − c‖² does, and the shift keeps the products small. For inner product μ and bias are 0.

@group(0) @binding(4) var<storage, read> centroids: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> labels: array<u32>;
@group(0) @binding(6) var<storage, read_write> distances: array<f32>;

const LOWEST: f32 = -3.4028234e38;

// The best centroid so far of four rows.
struct Best {
  score: vec4<f32>,
  label: vec4<u32>,
}

// Centroids come in rising order and only a higher score wins, so of equal scores the lowest label stays.
fn consider(best: Best, products: mat4x4<f32>, first: u32) -> Best {
  var next = best;
  for (var i = 0u; i < 4u; i++) {
    if first + i < params.nlist {
      let score = products[i] + bias[first + i];
      let wins = score > next.score;
      next.score = select(next.score, score, wins);
      next.label = select(next.label, vec4(first + i), wins);
    }
  }
  return next;
}

@compute @workgroup_size(256)
fn assign(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_row = workgroup.x * TILE;
  let tx = lane % 16u;
  let ty = lane / 16u;
  var best0 = Best(vec4(LOWEST), vec4(0u));
  var best1 = best0;
  for (var first = 0u; first < params.nlist; first += TILE) {
    let tile = product_tile(lane, first_row, first);
    best0 = consider(best0, tile.m00, first + 4u * tx);
    best0 = consider(best0, tile.m01, first + 64u + 4u * tx);
    best1 = consider(best1, tile.m10, first + 4u * tx);
    best1 = consider(best1, tile.m11, first + 64u + 4u * tx);
  }

  // Sixteen invocations hold a best for each row; the tiles' memory is free now and takes them, [row quad][tx].
  workgroupBarrier();
  row_tile[ty * 16u + tx] = best0.score;
  row_tile[(16u + ty) * 16u + tx] = best1.score;
  centroid_tile[ty * 16u + tx] = bitcast<vec4<f32>>(best0.label);
  centroid_tile[(16u + ty) * 16u + tx] = bitcast<vec4<f32>>(best1.label);
  workgroupBarrier();
  if lane < TILE && first_row + lane < params.rows {
    let part = lane % 4u;
    var score = LOWEST;
    var label = 0xffffffffu;
    for (var i = 0u; i < 16u; i++) {
      let at = lane / 4u * 16u + i;
      let other_score = row_tile[at][part];
      let other_label = bitcast<u32>(centroid_tile[at][part]);
      if other_score > score || (other_score == score && other_label < label) {
        score = other_score;
        label = other_label;
      }
    }
    // Scores that overflowed compare with nothing; the label stays a valid one.
    labels[first_row + lane] = select(label, 0u, label == 0xffffffffu);
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
    let centroid = labels[row];
    for (var i = lane % 16u; i < params.stride; i += 16u) {
      sum = add_terms(sum, rows[row * params.stride + i], centroids[centroid * params.stride + i]);
    }
  }
  partial[lane] = dot(sum, vec4(1.0));
  workgroupBarrier();
  if row < params.rows && lane % 16u == 0u {
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) { total += partial[lane + i]; }
    distances[row] = total;
  }
}
