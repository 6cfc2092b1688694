// Sums of u8 look-up tables over 4-bit codes, for select_topk to pick from. A task is up to 4 queries that visit the
// same list and up to 64 blocks of it; one workgroup a task, so each block is read once for all queries of its task.
//
// Codes lie in faiss's blocks of 32 rows: for each pair of sub-quantizers 16 bytes of the even one, then 16 of the odd
// one. A byte holds two rows: its low nibble row v of the first half of the block, its high nibble row 16 + v, where
// v is w / 2 for an even byte w and 8 + w / 2 for an odd one.
//
// The tables of the 4 queries lie interleaved, one byte each in a word, so that one look-up serves all of them. Sums
// are kept in 16-bit halves for a chunk of sub-quantizers, too few to overflow, and then added up in 32 bits.

struct Params {
  pairs: u32,     // of sub-quantizers, the odd one out padded
  first_row: u32, // number of the first row in this buffer, when the codes are spread over several
  rows: u32,      // in this buffer
  tasks: u32,
  descending: u32, // 1 where the largest sum comes first
  one_table: u32,  // 1 where a query has one table for all its lists
}

struct Task {
  first_visit: u32,
  visits: u32, // at most 4
  first_row: u32, // of a block
  rows: u32, // at most 64 blocks of 32; 0 in tasks that were not needed
}

// A query of a task, and which bias, and table, is its list's. The sum of row r goes to base + r, modulo 2^32.
struct Visit {
  query: u32,
  list: u32,
  base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;  // [block][pair][8]
@group(0) @binding(2) var<storage, read> tables: array<u32>; // [table][2 · pairs][16] bytes
@group(0) @binding(3) var<storage, read> biases: array<u32>;
@group(0) @binding(4) var<storage, read> tasks: array<Task>;
@group(0) @binding(5) var<storage, read> visits: array<Visit>;
@group(0) @binding(6) var<storage, read_write> keys: array<f32>;
@group(0) @binding(7) var<storage, read_write> candidates: array<u32>;

const CHUNK: u32 = 64u; // pairs: 128 sub-quantizers of at most 255 stay below 2^16

var<workgroup> entries: array<u32, 2048>; // [2 · CHUNK][16], a byte a query

// One invocation takes 4 bytes of each half-pair: 8 rows. The sums of queries 0 and 2 are the halves of `even`, those of
// 1 and 3 of `odd`; `low` and `high` are the nibbles.
struct Packed {
  low_even: vec4<u32>,
  low_odd: vec4<u32>,
  high_even: vec4<u32>,
  high_odd: vec4<u32>,
}

fn look_up(first: u32, nibbles: vec4<u32>) -> vec4<u32> {
  return vec4(entries[first + nibbles.x], entries[first + nibbles.y], entries[first + nibbles.z],
              entries[first + nibbles.w]);
}

fn add_word(sums: Packed, sub_quantizer: u32, word: u32) -> Packed {
  let mask = vec4(0x00ff00ffu);
  let low = look_up(sub_quantizer * 16u, (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(15u));
  let high = look_up(sub_quantizer * 16u, (vec4(word) >> vec4(4u, 12u, 20u, 28u)) & vec4(15u));
  return Packed(sums.low_even + (low & mask), sums.low_odd + ((low >> vec4(8u)) & mask),
                sums.high_even + (high & mask), sums.high_odd + ((high >> vec4(8u)) & mask));
}

fn table_word(task: Task, number: u32, word: u32) -> u32 {
  if number >= task.visits { return 0u; }
  let visit = visits[task.first_visit + number];
  return tables[select(visit.list, visit.query, params.one_table == 1u) * params.pairs * 8u + word];
}

// Turns four queries' words of four entries each into four words of one entry each.
fn stage_entries(lane: u32, task: Task, first_pair: u32) {
  let words = min(CHUNK, params.pairs - first_pair) * 8u;
  for (var i = lane; i < words; i += 256u) {
    let word = first_pair * 8u + i;
    let q = vec4(table_word(task, 0u, word), table_word(task, 1u, word), table_word(task, 2u, word),
                 table_word(task, 3u, word));
    for (var entry = 0u; entry < 4u; entry++) {
      let bytes = (q >> vec4(8u * entry)) & vec4(255u);
      entries[4u * i + entry] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    }
  }
}

@compute @workgroup_size(256)
fn scan(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let number = workgroup.y * grid.x + workgroup.x;
  if number >= params.tasks { return; }
  let task = tasks[number];
  if task.first_row + task.rows <= params.first_row || task.first_row >= params.first_row + params.rows { return; }
  let block = lane / 4u;
  let row = task.first_row + block * 32u - params.first_row; // the block's first, in this buffer
  let here = block * 32u < task.rows && row < params.rows;
  let base = row / 32u * params.pairs * 8u + lane % 4u;
  // Totals of each query, first for the low nibbles, then for the high ones.
  var low = Totals();
  var high = Totals();
  for (var first_pair = 0u; first_pair < params.pairs; first_pair += CHUNK) {
    workgroupBarrier(); // the entries of the chunk before are read
    stage_entries(lane, task, first_pair);
    workgroupBarrier();
    let pairs = min(CHUNK, params.pairs - first_pair);
    if here {
      var sums = Packed();
      for (var i = 0u; i < pairs; i++) {
        let pair = first_pair + i;
        sums = add_word(sums, 2u * i, codes[base + pair * 8u]);
        sums = add_word(sums, 2u * i + 1u, codes[base + pair * 8u + 4u]);
      }
      low = add_packed(low, sums.low_even, sums.low_odd);
      high = add_packed(high, sums.high_even, sums.high_odd);
    }
  }
  if here {
    write(task, block, lane % 4u, 0u, low);
    write(task, block, lane % 4u, 16u, high);
  }
}

// Sums of four rows for each of four queries.
struct Totals {
  q0: vec4<u32>,
  q1: vec4<u32>,
  q2: vec4<u32>,
  q3: vec4<u32>,
}

fn add_packed(totals: Totals, even: vec4<u32>, odd: vec4<u32>) -> Totals {
  let half = vec4(0xffffu);
  let shift = vec4(16u);
  return Totals(totals.q0 + (even & half), totals.q1 + (odd & half), totals.q2 + (even >> shift),
                totals.q3 + (odd >> shift));
}

fn write(task: Task, block: u32, quarter: u32, half: u32, totals: Totals) {
  write_rows(task, 0u, block, quarter, half, totals.q0);
  write_rows(task, 1u, block, quarter, half, totals.q1);
  write_rows(task, 2u, block, quarter, half, totals.q2);
  write_rows(task, 3u, block, quarter, half, totals.q3);
}

fn write_rows(task: Task, number: u32, block: u32, quarter: u32, half: u32, sums: vec4<u32>) {
  if number >= task.visits { return; }
  let visit = visits[task.first_visit + number];
  let bias = biases[visit.list];
  for (var byte = 0u; byte < 4u; byte++) {
    let place = 4u * quarter + byte;
    let line = block * 32u + half + select(place / 2u, 8u + place / 2u, place % 2u == 1u);
    if line < task.rows {
      let row = task.first_row + line;
      // Sums are below 2^24, so floats hold them exactly.
      let key = f32(sums[byte] + bias);
      keys[visit.base + row] = select(key, -key, params.descending == 1u);
      candidates[visit.base + row] = row;
    }
  }
}
