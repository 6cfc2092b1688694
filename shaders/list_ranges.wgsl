// The rows of the lists that each query visits, as exact_topk and fast_scan read them: tasks of queries that share rows,
// and the segments that select_topk picks from. For a run of queries; two entry points, in this order:
//   arrive  gives each visit a place among the keys of its query, and one in a group of visits to its list
//   cut     writes the visits, and cuts the rows of each group into tasks
//
// Visits join groups, and groups take numbers, in the order in which they arrive. It changes who shares rows with whom,
// but neither a key nor where it goes.

struct Params {
  first_query: u32,
  queries: u32,
  nprobe: u32,
  nlist: u32,
  task_visits: u32, // a task's, at most
  task_rows: u32,
  room: u32, // keys a query, at most
  slice: u32, // keys a segment, at most
}

struct Task {
  first_visit: u32,
  visits: u32,
  first_row: u32,
  rows: u32, // 0 in tasks that are not needed
}

// The key of row r goes to base + r, modulo 2^32.
struct Visit {
  query: u32,
  list: u32, // its number among the lists of all queries
  base: u32,
}

struct Arrival {
  rank: u32, // among the visits to the list; NONE where there is nothing to visit
  place: u32, // of the list's first key among those of the query
  first_task: u32, // of the group, where this is its first visit
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probes: array<u32>; // [queries][nprobe]
@group(0) @binding(2) var<storage, read> lists: array<vec2<u32>>; // first row, rows
// Zero before: [nlist] visits; tasks; groups. Then [nlist][groups a list], the number of each group.
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> arrivals: array<Arrival>; // [queries of the run][nprobe]
@group(0) @binding(5) var<storage, read_write> visits: array<Visit>; // [groups][task_visits]
@group(0) @binding(6) var<storage, read_write> tasks: array<Task>; // zero before
@group(0) @binding(7) var<storage, read_write> segments: array<vec2<u32>>; // (start, length), [queries][slices]

const LANES: u32 = 64u; // a query
const CUTTERS: u32 = 8u; // invocations a visit
const NONE: u32 = 0xffffffffu;

fn group_at(list: u32, rank: u32) -> u32 {
  let groups = (params.queries + params.task_visits - 1u) / params.task_visits;
  return params.nlist + 2u + list * groups + rank / params.task_visits;
}

// Pieces of a list that is not empty.
fn pieces_of(rows: u32) -> u32 {
  return (rows - 1u) / params.task_rows + 1u;
}

var<workgroup> sums: array<u32, 64>;

// The sum over the lanes up to this one, of which the first `count` count; `sums` has all of these.
fn sum_up_to(lane: u32, count: u32, size: u32) -> u32 {
  workgroupBarrier(); // the sums before are read
  sums[lane] = size;
  for (var span = 1u; span < count; span *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if lane >= span { before = sums[lane - span]; }
    workgroupBarrier();
    sums[lane] += before;
  }
  workgroupBarrier();
  return sums[lane];
}

fn arrival_at(list: u32, rows: u32, place: u32) -> Arrival {
  if rows == 0u { return Arrival(NONE, 0u, 0u); }
  let rank = atomicAdd(&counts[list], 1u);
  var first_task = 0u;
  if rank % params.task_visits == 0u {
    first_task = atomicAdd(&counts[params.nlist], pieces_of(rows));
    atomicStore(&counts[group_at(list, rank)], atomicAdd(&counts[params.nlist + 1u], 1u));
  }
  return Arrival(rank, place, first_task);
}

// One workgroup a query.
@compute @workgroup_size(64)
fn arrive(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
  let query = workgroup.y * grid.x + workgroup.x;
  if query >= params.queries { return; }
  let count = min(params.nprobe, LANES);
  var keys = 0u;
  for (var first = 0u; first < params.nprobe; first += LANES) {
    let probe = first + lane;
    var list = NONE;
    if probe < params.nprobe { list = probes[(params.first_query + query) * params.nprobe + probe]; }
    var rows = 0u;
    if list < params.nlist { rows = lists[list].y; }
    let place = keys + sum_up_to(lane, count, rows) - rows;
    if probe < params.nprobe { arrivals[query * params.nprobe + probe] = arrival_at(list, rows, place); }
    keys += sums[count - 1u];
  }
  let slices = max((params.room + params.slice - 1u) / params.slice, 1u);
  for (var i = lane; i < slices; i += LANES) {
    let start = i * params.slice;
    segments[query * slices + i] = vec2(query * params.room + start, min(max(keys, start) - start, params.slice));
  }
}

// A few invocations a visit.
@compute @workgroup_size(256)
fn cut(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
       @builtin(local_invocation_index) index: u32) {
  let number = (workgroup.y * grid.x + workgroup.x) * (256u / CUTTERS) + index / CUTTERS;
  if number >= params.queries * params.nprobe { return; }
  let arrival = arrivals[number];
  if arrival.rank == NONE { return; }
  let visit = params.first_query * params.nprobe + number;
  let list = probes[visit];
  let rows = lists[list];
  let first_visit = atomicLoad(&counts[group_at(list, arrival.rank)]) * params.task_visits;
  let member = arrival.rank % params.task_visits;
  if index % CUTTERS == 0u {
    let first_key = number / params.nprobe * params.room + arrival.place;
    visits[first_visit + member] = Visit(visit / params.nprobe, visit, first_key - rows.x);
  }
  if member != 0u { return; }
  let together = min(atomicLoad(&counts[list]) - arrival.rank, params.task_visits);
  for (var piece = index % CUTTERS; piece < pieces_of(rows.y); piece += CUTTERS) {
    let first = piece * params.task_rows;
    tasks[arrival.first_task + piece] =
      Task(first_visit, together, rows.x + first, min(rows.y - first, params.task_rows));
  }
}
