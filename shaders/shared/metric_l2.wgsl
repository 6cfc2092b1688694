// Squared Euclidean distance: terms add up to Σ (x − y)², and the key that orders candidates is the distance.

fn add_terms(sum: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let difference = x - y;
  return fma(difference, difference, sum);
}

fn key_of(distance: f32) -> f32 {
  return distance;
}
