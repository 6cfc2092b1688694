// Rows less the centroids that they belong to.

@group(0) @binding(4) var<storage, read> centroids: array<f32>;
@group(0) @binding(5) var<storage, read> labels: array<u32>;

fn element(row: u32, column: u32) -> f32 {
  return rows[row * params.stride + column] - centroids[labels[row] * params.stride + column];
}
