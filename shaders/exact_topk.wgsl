// Exact distances of queries to ranges of rows, for select_topk to pick from. A task is up to 16 queries that share
// up to 64 rows; one workgroup a task, so each row is read once for all queries of its task.
//
// Distances are direct sums over the differences: nothing cancels, however large the norms are.

struct Params {
  stride: u32,    // vec4s a row
  first_row: u32, // number of the first row in this buffer, when the rows are spread over several
  rows: u32,      // in this buffer
  tasks: u32,
}

struct Task {
  first_visit: u32,
  visits: u32, // at most 16
  first_row: u32,
  rows: u32, // at most 64; 0 in tasks that were not needed
}

// A query of a task. The distance to row r goes to base + r, modulo 2^32.
struct Visit {
  query: u32,
  list: u32,
  base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>;
// Binding 2 holds the rows: shared/rows_f32 or shared/rows_f16.
@group(0) @binding(3) var<storage, read> tasks: array<Task>;
@group(0) @binding(4) var<storage, read> visits: array<Visit>;
@group(0) @binding(5) var<storage, read_write> keys: array<f32>;
@group(0) @binding(6) var<storage, read_write> candidates: array<u32>;

const DEPTH: u32 = 8u; // vec4s of a row staged at a time
const PITCH: u32 = 9u; // DEPTH + 1: rows start in different memory banks

var<workgroup> row_tile: array<vec4<f32>, 576>;   // 64 rows × PITCH
var<workgroup> query_tile: array<vec4<f32>, 144>; // 16 queries × PITCH

// Whether a line of a task is one of its rows, and in this buffer.
fn is_here(task: Task, line: u32) -> bool {
  return line < task.rows && task.first_row + line - params.first_row < params.rows;
}

fn stage_tiles(lane: u32, task: Task, depth: u32) {
  for (var i = lane; i < 64u * DEPTH; i += 256u) {
    let line = i / DEPTH;
    let column = depth + i % DEPTH;
    var value = vec4<f32>();
    if is_here(task, line) && column < params.stride {
      value = row_quad((task.first_row + line - params.first_row) * params.stride + column);
    }
    row_tile[line * PITCH + i % DEPTH] = value;
  }
  if lane < 16u * DEPTH {
    let line = lane / DEPTH;
    let column = depth + lane % DEPTH;
    var value = vec4<f32>();
    if line < task.visits && column < params.stride {
      value = queries[visits[task.first_visit + line].query * params.stride + column];
    }
    query_tile[line * PITCH + lane % DEPTH] = value;
  }
}

// Invocation (x, y) owns query y and rows x, 16 + x, 32 + x, 48 + x.
@compute @workgroup_size(256)
fn measure(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let number = workgroup.y * grid.x + workgroup.x;
  if number >= params.tasks { return; }
  let task = tasks[number];
  if task.first_row + task.rows <= params.first_row || task.first_row >= params.first_row + params.rows { return; }
  let x = lane % 16u;
  let y = lane / 16u;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var depth = 0u; depth < params.stride; depth += DEPTH) {
    workgroupBarrier(); // the tiles of the step before are read
    stage_tiles(lane, task, depth);
    workgroupBarrier();
    if y < task.visits {
      for (var i = 0u; i < DEPTH; i++) {
        let q = query_tile[y * PITCH + i];
        sum0 = add_terms(sum0, q, row_tile[x * PITCH + i]);
        sum1 = add_terms(sum1, q, row_tile[(16u + x) * PITCH + i]);
        sum2 = add_terms(sum2, q, row_tile[(32u + x) * PITCH + i]);
        sum3 = add_terms(sum3, q, row_tile[(48u + x) * PITCH + i]);
      }
    }
  }
  if y < task.visits {
    let base = visits[task.first_visit + y].base;
    write(base, task, x, sum0);
    write(base, task, 16u + x, sum1);
    write(base, task, 32u + x, sum2);
    write(base, task, 48u + x, sum3);
  }
}

fn write(base: u32, task: Task, line: u32, sum: vec4<f32>) {
  if is_here(task, line) {
    let row = task.first_row + line;
    keys[base + row] = key_of(dot(sum, vec4(1.0)));
    candidates[base + row] = row;
  }
}
