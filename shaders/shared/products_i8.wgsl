// For shared/product_tile: a word is four signed bytes, four dimensions. Most GPUs multiply and add all four at once.

alias Words = vec4<u32>;
alias FourWords = array<vec4<u32>, 4>;
alias Products = array<vec4<i32>, 4>;

fn turned(x: Words, y: Words, z: Words, w: Words) -> FourWords {
  return FourWords(vec4(x.x, y.x, z.x, w.x), vec4(x.y, y.y, z.y, w.y),
                   vec4(x.z, y.z, z.z, w.z), vec4(x.w, y.w, z.w, w.w));
}

fn multiplied(a: u32, b: Words) -> vec4<i32> {
  return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

fn add_outer(acc: Products, a: Words, b: Words) -> Products {
  return Products(acc[0] + multiplied(a.x, b), acc[1] + multiplied(a.y, b),
                  acc[2] + multiplied(a.z, b), acc[3] + multiplied(a.w, b));
}
