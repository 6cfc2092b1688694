// Rows taken as they are.

fn element(row: u32, column: u32) -> f32 {
  return rows[row * params.stride + column];
}
