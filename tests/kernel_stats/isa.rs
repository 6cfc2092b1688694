//! How a kernel's machine code spends the turns of its product: AMD's assembler text in, counts out.

use std::collections::BTreeMap;

/// Multiply-adds, alone, packed, or as one half of a dual-issue pair.
const MULTIPLY_ADDS: [&str; 8] =
    ["v_fma_", "v_fmac_", "v_dual_fma", "v_pk_fma_", "v_mac_f", "v_mad_f", "v_dot", "v_wmma"];

/// What one turn of a loop issues, loops within it left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    pub multiply_adds: usize,
    /// Vector instructions, the multiply-adds among them.
    pub vector: usize,
}

impl Turn {
    /// Of the loop that issues the most multiply-adds; zeros where no loop has any.
    pub fn of_product(code: &str) -> Self {
        let (instructions, loops) = parse(code);
        let mut turns: BTreeMap<usize, Self> = BTreeMap::new();
        for (at, instruction) in instructions.iter().enumerate().filter(|(_, text)| text.starts_with("v_")) {
            // Of the loops around an instruction the innermost begins last.
            if let Some((&first, _)) = loops.range(..=at).rev().find(|&(_, &last)| at <= last) {
                let turn = turns.entry(first).or_default();
                turn.vector += 1;
                turn.multiply_adds += usize::from(MULTIPLY_ADDS.iter().any(|prefix| instruction.starts_with(prefix)));
            }
        }
        turns.into_values().max_by_key(|turn| turn.multiply_adds).unwrap_or_default()
    }

    /// Multiply-adds in a hundred vector instructions.
    pub fn percent(self) -> u64 {
        (100 * self.multiply_adds).checked_div(self.vector).unwrap_or_default() as u64
    }
}

/// Instructions in order, and the loops among them: the number of the first instruction by that of the last.
fn parse(code: &str) -> (Vec<&str>, BTreeMap<usize, usize>) {
    let (mut instructions, mut blocks, mut loops) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for line in code.lines().map(|line| line.split(';').next().unwrap_or_default().trim()) {
        if let Some(block) = line.strip_suffix(':') {
            blocks.insert(block, instructions.len());
        } else if let Some(times) = line.strip_prefix("(then repeated ") {
            let times = times.split(' ').next().and_then(|times| times.parse().ok()).unwrap_or_default();
            let again = instructions.last().copied();
            instructions.extend(again.into_iter().cycle().take(times));
        } else {
            // A dual-issue pair is one line.
            instructions.extend(line.split("::").map(str::trim).filter(|instruction| !instruction.is_empty()));
            let target = line.split(' ').next_back().and_then(|target| blocks.get(target));
            if let Some(&first) = target.filter(|_| line.starts_with("s_branch") || line.starts_with("s_cbranch")) {
                loops.insert(first, instructions.len() - 1);
            }
        }
    }
    (instructions, loops)
}

/// An outer loop with an inner one of four multiply-adds, two of them a pair, in six vector instructions.
pub fn counts_the_products_loop() {
    let code = "BB0:\n\tv_mov_b32_e32 v0, 0 ; 7e00\nBB1:\n\tv_add_f32_e32 v1, v1, v2\n\ts_cbranch_scc1 BB4\nBB2:
        s_cbranch_scc1 BB3\n\tds_read_b128 v[0:3], v9\n\tv_fmac_f32_e32 v4, v0, v1 ; 56\n\tv_fma_f32 v5, v0, v2, v5
        v_dual_fmac_f32 v6, v0, v1 :: v_dual_fmac_f32 v7, v2, v3\n\tv_mov_b32_e32 v8, v9
        (then repeated 1 times)\n\ts_branch BB2\nBB3:\n\ts_branch BB1\nBB4:\n\ts_endpgm";
    let turn = Turn::of_product(code);
    assert_eq!(turn, Turn { multiply_adds: 4, vector: 6 });
    assert_eq!(turn.percent(), 66);
    assert_eq!(Turn::of_product("BB0:\n\tv_fma_f32 v0, v0, v0, v0\n\ts_endpgm").percent(), 0);
}
