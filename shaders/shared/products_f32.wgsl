// For shared/product_tile: a word is a float, one dimension.

alias Words = vec4<f32>;
alias FourWords = mat4x4<f32>;
alias Products = mat4x4<f32>;

fn turned(x: Words, y: Words, z: Words, w: Words) -> FourWords {
  return transpose(FourWords(x, y, z, w));
}

fn add_outer(acc: Products, a: Words, b: Words) -> Products {
  return Products(fma(b, vec4(a.x), acc[0]), fma(b, vec4(a.y), acc[1]),
                  fma(b, vec4(a.z), acc[2]), fma(b, vec4(a.w), acc[3]));
}
