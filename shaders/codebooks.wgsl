// Codebooks as the stages read them, of the centroids of a product quantizer: an invocation writes a float each of four
// centroids. Neighbouring invocations have neighbouring sub-quantizers.

struct Params {
  subs: u32,   // sub-quantizers
  dsub: u32,   // floats a sub-vector
  stride: u32, // floats a centroid
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> centroids: array<f32>; // [subs][16][stride]
@group(0) @binding(2) var<storage, read_write> codebooks: array<vec4<f32>>; // [dsub][4][subs], four centroids each

@compute @workgroup_size(64)
fn transpose(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
             @builtin(local_invocation_index) lane: u32) {
  let to = (workgroup.y * grid.x + workgroup.x) * 64u + lane;
  if to >= 4u * params.dsub * params.subs { return; }
  let quad = to / params.subs % 4u;
  let first = (to % params.subs * 16u + 4u * quad) * params.stride + to / (4u * params.subs);
  codebooks[to] = vec4(centroids[first], centroids[first + params.stride],
                       centroids[first + 2u * params.stride], centroids[first + 3u * params.stride]);
}
