// Inner product: terms add up to Σ x·y; the largest comes first, so the key that orders candidates is its negative.

fn add_terms(sum: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return fma(x, y, sum);
}

fn key_of(product: f32) -> f32 {
  return -product;
}

// x' · c' + c · μ = x · c − x' · μ, with both less their mean μ: what is added to the product, and the score from what is
// known of the row (its level) and the inner product.
fn bias_of(squared_length: f32, along_mean: f32) -> f32 {
  return along_mean;
}

fn level_of(squared_length: f32, short_along_mean: f32) -> f32 {
  return -short_along_mean;
}

fn score_of(product: f32, level: f32) -> f32 {
  return product + level;
}
