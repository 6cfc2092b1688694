// Squared Euclidean distance: terms add up to Σ (x − y)², and the key that orders candidates is the distance.

fn add_terms(sum: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let difference = x - y;
  return fma(difference, difference, sum);
}

fn key_of(distance: f32) -> f32 {
  return distance;
}

// x' · c' − ½‖c'‖² = ½‖x'‖² − ½‖x − c‖², with both less a mean: what is added to the product, and the score from what is
// known of the row (its level) and the distance.
fn bias_of(squared_length: f32, along_mean: f32) -> f32 {
  return -0.5 * squared_length;
}

fn level_of(squared_length: f32, short_along_mean: f32) -> f32 {
  return 0.5 * squared_length;
}

fn score_of(distance: f32, level: f32) -> f32 {
  return level - 0.5 * distance;
}
