// Inner product: terms add up to Σ x·y; the largest comes first, so the key that orders candidates is its negative.

fn add_terms(sum: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return fma(x, y, sum);
}

fn key_of(product: f32) -> f32 {
  return -product;
}
