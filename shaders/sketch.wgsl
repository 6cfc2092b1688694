// Sketches: vectors in few numbers. A sketch is a vector's shares in a few orthonormal directions, and the length of what
// is left of it. Two entry points, in this order:
//   project  writes shares: the product of vectors and directions
//   measure  writes what bounds are made of beside them
//
// Vectors are taken less a mean: short ones leave less. Both sides of a comparison are made alike: rows use sides,
// centroids sides and biases.

struct Side {
  rest: f32,  // length of what is left; rounding is allowed for
  slack: f32, // what rounding may do to a score, as a length: a product of two bounds it
  level: f32, // turns a distance into a score
}

// `rows` are the vectors, `shifted` the directions, `bias` the mean's share in each, negated.
@group(0) @binding(4) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> shares: array<f32>; // [vector][direction]
@group(0) @binding(6) var<storage, read_write> biases: array<f32>;
@group(0) @binding(7) var<storage, read_write> sides: array<Side>;

fn write_shares(products: mat4x4<f32>, first_row: u32, first_direction: u32) {
  for (var i = 0u; i < 4u; i++) {
    let direction = first_direction + i;
    if direction < params.nlist {
      for (var j = 0u; j < 4u; j++) {
        let row = first_row + j;
        if row < params.rows { shares[row * params.nlist + direction] = products[i][j] + bias[direction]; }
      }
    }
  }
}

@compute @workgroup_size(256)
fn project(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_row = workgroup.x * BLOCK;
  let first_direction = workgroup.y * BLOCK;
  let tile = product_tile(lane, first_row, first_direction);
  write_shares(tile.m00, first_row + 4u * (lane / 16u), first_direction + 4u * (lane % 16u));
}

var<workgroup> partial: array<vec4<f32>, 256>;
var<workgroup> partial_shares: array<f32, 256>;

// Sixteen invocations a vector; 16 vectors a workgroup.
@compute @workgroup_size(256)
fn measure(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = (workgroup.y * grid.x + workgroup.x) * 16u + lane / 16u;
  var sums = vec4<f32>(); // of (x − μ)², x², x · μ and (x − μ) · μ
  var in_shares = 0.0;
  if row < params.rows {
    for (var i = lane % 16u; i < params.stride; i += 16u) {
      let x = rows[row * params.stride + i];
      let short = x - mean[i];
      sums += vec4(dot(short, short), dot(x, x), dot(x, mean[i]), dot(short, mean[i]));
    }
    for (var i = lane % 16u; i < params.nlist; i += 16u) {
      let share = shares[row * params.nlist + i];
      in_shares += share * share;
    }
  }
  partial[lane] = sums;
  partial_shares[lane] = in_shares;
  workgroupBarrier();
  if row < params.rows && lane % 16u == 0u {
    for (var i = 1u; i < 16u; i++) {
      sums += partial[lane + i];
      in_shares += partial_shares[lane + i];
    }
    // A sum over d terms is off by less than d · 2⁻²⁴ of their absolute sum. With r² + s² for r² the product of two rests
    // is at least r·r' + s·s' (Cauchy and Schwarz).
    let rounding = f32(4u * params.stride + 16u) * 5.9604645e-8;
    let slack = 2.0 * rounding * (sums.x + sums.y);
    sides[row] = Side(sqrt(max(sums.x - in_shares, 0.0) + slack), sqrt(slack), level_of(sums.x, sums.w));
    biases[row] = bias_of(sums.x, sums.z) + 2.0 * slack;
  }
}
