// For bounds.wgsl: shares are floats.

fn rest_of(side: Side) -> f32 {
  return side.rest;
}

fn scale_of(side: Side) -> f32 {
  return 1.0;
}

fn product_of(sums: vec4<f32>, scales: vec4<f32>, scale: f32) -> vec4<f32> {
  return sums;
}
