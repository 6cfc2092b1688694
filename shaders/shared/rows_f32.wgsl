// Rows of 32-bit floats.

@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;

fn row_quad(at: u32) -> vec4<f32> {
  return rows[at];
}
