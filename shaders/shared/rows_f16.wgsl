// Rows of 16-bit floats, two a word, the first in the low half.

@group(0) @binding(2) var<storage, read> rows: array<vec2<u32>>;

fn row_quad(at: u32) -> vec4<f32> {
  let words = rows[at];
  return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}
