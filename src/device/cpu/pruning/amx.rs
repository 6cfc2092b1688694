//! AMX, the matrix unit of Intel's server CPUs since 2023: one instruction multiplies 16 rows and 16 vectors of 64 bytes.
//!
//! Instructions and the layout of tiles: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
//! Rust has no stable intrinsics for them, hence the assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile, and vectors of half a panel.
pub(crate) const ROWS: usize = 16;
/// Bytes of a tile's row.
const BYTES: usize = 64;

/// Products of a tile's rows and a panel's vectors, [row][half of the panel][vector].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Products(pub [[[i32; 16]; 2]; ROWS]);

impl Products {
    pub const ZERO: Self = Self([[[0; 16]; 2]; ROWS]);
}

/// The unit of the core that this thread runs on, set up for tiles of 16 rows of 64 bytes.
pub(crate) struct Unit {
    /// It belongs to a thread.
    thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

impl Unit {
    /// Whether there is one that the system lets this process use.
    pub fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| has_it() && may_use_it())
    }

    /// Sets it up; there is one ([`available`](Self::available)).
    pub fn claim() -> Self {
        assert!(Self::available(), "there is no AMX");
        let mut tiles =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes_a_row: [0; 16], rows: [0; 16] };
        tiles.bytes_a_row[..8].fill(BYTES as u16);
        tiles.rows[..8].fill(ROWS as u8);
        // SAFETY: the machine has the instruction, and it reads these 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &tiles, options(nostack, readonly)) };
        Self { thread: PhantomData }
    }

    /// Products of 16 rows of signed bytes and the vectors of a panel, [width / 4][half of the panel][vector][4] unsigned
    /// bytes. The width is a multiple of 64.
    #[inline(always)]
    pub fn products(&self, rows: &[i8], panel: &[[[u8; 64]; 2]], products: &mut Products) {
        let width = rows.len() / ROWS;
        assert!(width > 0 && width.is_multiple_of(BYTES) && rows.len() == ROWS * width && panel.len() == width / 4);
        // SAFETY: this thread's unit is set up (`claim`). Steps of 64 bytes of each row, and of 16 fours of the panel, end
        // where the slices do, and 16 rows of 128 bytes are written, which the products have. The compiler itself uses no
        // tile.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm2, [{rows} + {width}]",
                "tileloadd tmm3, [{panel} + {stride}]",
                "tdpbsud tmm0, tmm2, tmm3",
                "tileloadd tmm4, [{panel} + {stride} + 64]",
                "tdpbsud tmm1, tmm2, tmm4",
                "add {rows}, 64",
                "add {panel}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{products} + {stride}], tmm0",
                "tilestored [{products} + {stride} + 64], tmm1",
                rows = inout(reg) rows.as_ptr() => _,
                panel = inout(reg) panel.as_ptr() => _,
                steps = inout(reg) width / BYTES => _,
                width = in(reg) width,
                stride = in(reg) 128usize,
                products = in(reg) products,
                options(nostack),
            );
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: the machine has the instruction (`claim`).
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Whether the processor has AMX-TILE and AMX-INT8.
fn has_it() -> bool {
    // SAFETY: this processor has CPUID's leaf 7, which tells of AVX-512, too. (Newer versions of Rust need no `unsafe`.)
    #[allow(unused_unsafe)]
    let leaf = || unsafe { __cpuid_count(7, 0) };
    is_x86_feature_detected!("avx512f") && leaf().edx >> 24 & 0b11 == 0b11
}

/// Asks Linux for the tiles' state, which a process has only if it asks (kernel documentation, arch/x86/xstate).
fn may_use_it() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: two numbers go in, and nothing is written.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
