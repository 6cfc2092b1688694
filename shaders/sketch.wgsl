// Sketches: vectors in few numbers. A sketch is a vector's shares in a few orthonormal directions, and the length of what
// is left of it. Four entry points, in this order:
//   project  writes shares: the product of vectors and directions
//   measure  writes what bounds are made of beside them
//   pack     writes the shares in bytes, too, four a word
//   halve    writes them in 16-bit floats, two a word, where matrix units are to multiply them
//
// Vectors are taken less a mean: short ones leave less. Both sides of a comparison are made alike: rows use sides,
// centroids sides and biases.

struct Side {
  rest: f32,       // length of what is left; rounding is allowed for
  slack: f32,      // what rounding may do to a score, as a length: a product of two bounds it
  level: f32,      // turns a distance into a score
  byte_rest: f32,  // the rest where shares are bytes: what these lose is a part of it
  byte_scale: f32, // what a byte's unit stands for
  half_rest: f32,  // the same of 16-bit floats
  half_scale: f32,
}

// `rows` are the vectors, `shifted` the directions, `bias` the mean's share in each, negated.
@group(0) @binding(4) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> shares: array<f32>; // [vector][direction]
@group(0) @binding(6) var<storage, read_write> biases: array<f32>;
@group(0) @binding(7) var<storage, read_write> sides: array<Side>;
@group(0) @binding(8) var<storage, read_write> packed_shares: array<u32>; // [vector][direction / 4], of halves / 2

// Squares below this may be taken for 0.
const LEAST: f32 = 1.17549435e-38;

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
fn project(@builtin(workgroup_id) workgroup: vec3<u32>, at: Invocation) {
  let first_row = workgroup.x * BLOCK;
  let first_direction = workgroup.y * BLOCK;
  let tile = product_tile(at, first_row, first_direction);
  write_shares(tile.m00, first_row + 4u * (at.lane / 16u), first_direction + 4u * (at.lane % 16u));
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
    // is at least r·r' + s·s' (Cauchy and Schwarz). Shares are off by up to (2·‖x‖ + ‖x − μ‖) · d · 2⁻²⁴, which counts four
    // times; with the sums of squares, the products and directions that are not quite orthonormal that is less than
    // 12 · d · 2⁻²⁴ of the two squares. The slack by itself is for biases and levels.
    let terms = f32(4u * params.stride + 16u);
    let slack = 2.0 * terms * (5.9604645e-8 * (sums.x + sums.y) + LEAST);
    let rest = sqrt(max(sums.x - in_shares, 0.0) + 6.0 * slack);
    sides[row] = Side(rest, sqrt(slack), level_of(sums.x, sums.w), 0.0, 0.0, 0.0, 0.0);
    biases[row] = bias_of(sums.x, sums.z) + 2.0 * slack;
  }
}

// What is summed up by the sixteen invocations of a vector.
fn sum_of_sixteen(lane: u32, own: vec2<f32>) -> vec2<f32> {
  partial[lane] = vec4(own, 0.0, 0.0);
  workgroupBarrier();
  var sums = vec2<f32>();
  for (var i = 0u; i < 16u; i++) { sums += partial[lane / 16u * 16u + i].xy; }
  return sums;
}

// The largest share of a vector, for its sixteen invocations.
fn largest_share(row: u32, lane: u32) -> f32 {
  var largest = 0.0;
  if row < params.rows {
    for (var i = lane % 16u; i < params.nlist; i += 16u) {
      largest = max(largest, abs(shares[row * params.nlist + i]));
    }
  }
  partial_shares[lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < 16u; i++) { largest = max(largest, partial_shares[lane / 16u * 16u + i]); }
  return largest;
}

// Shares so small that their inverse leaves the range of floats stay 0.
const LEAST_SHARE: f32 = 1e-30;

// A rest where shares of h + e are held as h: h·h' lacks at most |e|·(|h'| + |e'|/2) + (|h| + |e|/2)·|e'|. That is a
// product of (a·|e|, (|h| + |e|/2)/a) and the same of the other side turned round, for any a: these are further parts of
// two rests, and make them least where a² is the second by the first. `sums` are e² and h².
fn rest_with(rest: f32, sums: vec2<f32>, held_by_lost: f32) -> f32 {
  let held = sqrt(sums.y);
  // Rounding takes less than 2⁻²¹ of what is held, where it is multiplied out and where it is summed up.
  let lost = sqrt(sums.x) + 4.7683716e-7 * held;
  let reach = held + 0.5 * lost;
  return sqrt(rest * rest + held_by_lost * lost * lost + reach * reach / held_by_lost);
}

// About the length of what bytes hold, by that of what they lose, and the same of 16-bit floats.
const BYTES_HELD_BY_LOST: f32 = 128.0;
const HALVES_HELD_BY_LOST: f32 = 4096.0;

// As `measure`.
@compute @workgroup_size(256)
fn pack(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = (workgroup.y * grid.x + workgroup.x) * 16u + lane / 16u;
  let words = params.nlist / 4u;
  let largest = largest_share(row, lane);
  let inverse = select(0.0, 127.0 / largest, largest > LEAST_SHARE);
  let scale = largest / 127.0;
  var sums = vec2<f32>(); // of e² and h²
  if row < params.rows {
    for (var i = lane % 16u; i < words; i += 16u) {
      let at = 4u * (row * words + i);
      let four = vec4(shares[at], shares[at + 1u], shares[at + 2u], shares[at + 3u]);
      let units = clamp(vec4<i32>(round(four * inverse)), vec4(-127), vec4(127));
      let held = scale * vec4<f32>(units);
      sums += vec2(dot(four - held, four - held), dot(held, held));
      packed_shares[row * words + i] = pack4xI8(units);
    }
  }
  sums = sum_of_sixteen(lane, sums);
  if row < params.rows && lane % 16u == 0u {
    sides[row].byte_rest = rest_with(sides[row].rest, sums, BYTES_HELD_BY_LOST);
    sides[row].byte_scale = scale;
  }
}

// What matrix units may lose for each dimension, of the sum of all |h_i·h'_i|. Some align four products or more with the
// greatest of them and the sum up to there, and cut off what is below 2⁻²³ of that: less than 2⁻²² a dimension.
const LOST_BY_MATRICES: f32 = 4.7683716e-7; // 2⁻²¹
// Shares are scaled, by a power of two, so that the largest is 2¹⁴ or more; halves go to 2¹⁶.
const HALVES_REACH: f32 = 16384.0;
// The least that is a normal number among halves: others are zeros on some GPUs.
const LEAST_HALF: f32 = 6.1035156e-5; // 2⁻¹⁴

// As `pack`.
@compute @workgroup_size(256)
fn halve(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
  let row = (workgroup.y * grid.x + workgroup.x) * 16u + lane / 16u;
  let words = params.nlist / 2u;
  let largest = largest_share(row, lane);
  let power = bitcast<f32>(bitcast<u32>(largest) & 0x7f800000u);
  let inverse = select(0.0, HALVES_REACH / power, largest > LEAST_SHARE);
  let scale = power / HALVES_REACH;
  var sums = vec2<f32>(); // of e² and h²
  if row < params.rows {
    for (var i = lane % 16u; i < words; i += 16u) {
      let at = 2u * (row * words + i);
      let two = vec2(shares[at], shares[at + 1u]);
      let scaled = two * inverse;
      let word = pack2x16float(select(scaled, vec2<f32>(), abs(scaled) < vec2(LEAST_HALF)));
      let held = scale * unpack2x16float(word);
      sums += vec2(dot(two - held, two - held), dot(held, held));
      packed_shares[row * words + i] = word;
    }
  }
  sums = sum_of_sixteen(lane, sums);
  if row < params.rows && lane % 16u == 0u {
    // Of rests of √c·|h| the product is at least c·Σ|h_i·h'_i|.
    let rest = sides[row].rest;
    let lost_later = f32(params.nlist) * LOST_BY_MATRICES * sums.y;
    sides[row].half_rest = rest_with(sqrt(rest * rest + lost_later), sums, HALVES_HELD_BY_LOST);
    sides[row].half_scale = scale;
  }
}
