// For bounds.wgsl: shares are 16-bit floats.

fn rest_of(side: Side) -> f32 {
  return side.half_rest;
}

fn scale_of(side: Side) -> f32 {
  return side.half_scale;
}

fn product_of(sums: vec4<f32>, scales: vec4<f32>, scale: f32) -> vec4<f32> {
  return sums * scale * scales;
}
