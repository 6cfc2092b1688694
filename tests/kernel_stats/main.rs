//! What AMD's production compiler (ACO, in Mesa's RADV driver) makes of every kernel, on machines without its cards: a
//! table of registers, occupancy and instructions, and one test a (chip, kernel, entry point) that fails where a register
//! is spilled to memory. `cargo test --test kernel_stats` prints the table.
//!
//! RADV compiles for a chip that is named when it loads (`RADV_FORCE_FAMILY`) and is not there, so each chip is a child
//! process of this one. Without the driver the tests are listed as ignored.

mod isa;
mod radv;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use rvc_gpu_index::device::gpu_kernels;

/// RDNA 1, 2 and 3, and GCN 5, each by its names in older and newer versions of Mesa.
const CHIPS: [&[&str]; 4] = [&["NAVI10"], &["NAVI21"], &["GFX1100", "NAVI31"], &["VEGA20"]];
const CHIP: &str = "RADV_FORCE_FAMILY";
/// What a row of the table has after the chip, the kernel and the entry point.
///
/// `share` says how many of a hundred vector instructions are multiply-adds in the loop that has the most.
const COLUMNS: [&str; 10] = ["VGPRs", "waves", "spilled", "LDS", "cycles", "fma", "lds", "vmem", "branch", "share"];
/// The kernels that take most of a build, with the largest tile, and their least `share`. The loop of a smaller tile is
/// so short that the compiler makes it one with the staging around it.
const PRODUCTS: [&str; 4] = [
    "nearest_centroid_l2_128x128::assign",
    "nearest_centroid_ip_128x128::assign",
    "bounds_l2_i8_128x128::reach",
    "bounds_ip_i8_128x128::reach",
];
const PRODUCT_SHARE: u64 = 90;
/// RDNA 1 has no product of bytes: its loop is the same in other instructions, and slower than that of floats.
const WITHOUT_BYTES: &str = "NAVI10";

/// What a child prints before the name of a kernel that needs matrices which its chip, or the driver, does not have.
const LEFT_OUT: &str = "left out: ";

/// What the compiler says of an entry point, in the order of [`COLUMNS`].
struct Row {
    kernel: String,
    entry: String,
    figures: [u64; COLUMNS.len()],
}

fn main() -> ExitCode {
    if let Ok(chip) = env::var(CHIP) {
        return child(&chip);
    }
    let arguments = Arguments::from_args();
    let there = Path::new(&driver()).exists();
    let mut trials = vec![Trial::test("isa::counts_the_products_loop", || {
        isa::counts_the_products_loop();
        Ok(())
    })];
    if !there {
        let name = format!("radv: no {} (mesa-vulkan-drivers)", driver());
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    for names in CHIPS.into_iter().filter(|_| there) {
        let mut errors = String::new();
        match names.iter().find_map(|name| rows_of(name).map_err(|error| errors += &error).ok()) {
            Some(rows) => trials.extend(rows.into_iter().map(|row| row.trial(names[0]))),
            None => trials.push(Trial::test(names[0], move || Err(errors.into()))),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Mesa's manifest of the driver.
fn driver() -> String {
    format!("/usr/share/vulkan/icd.d/radeon_icd.{}.json", env::consts::ARCH)
}

/// Compiles everything for the one chip that the environment names, and prints a line an entry point.
fn child(chip: &str) -> ExitCode {
    let compiled = radv::Compiler::new().and_then(|compiler| {
        for kernel in gpu_kernels() {
            if !compiler.can_compile(kernel) {
                println!("{LEFT_OUT}{}", kernel.name);
                continue;
            }
            for row in compiler.rows(kernel).map_err(|error| format!("{}: {error}", kernel.name))? {
                let figures = row.figures.map(|figure| figure.to_string()).join(" ");
                println!("{} {} {figures}", row.kernel, row.entry);
            }
        }
        Ok(())
    });
    match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{chip}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has a child compile for a chip, and prints its table.
fn rows_of(chip: &str) -> Result<Vec<Row>, String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let done = Command::new(this).env(CHIP, chip).env("VK_DRIVER_FILES", driver()).output();
    let done = done.map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(format!("{chip}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr)));
    }
    let printed = String::from_utf8_lossy(&done.stdout);
    let left_out: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix(LEFT_OUT)).collect();
    let rows: Vec<Row> = printed.lines().filter(|line| !line.starts_with(LEFT_OUT)).filter_map(Row::parse).collect();
    println!("\n{chip:<48}{}", COLUMNS.map(|column| format!("{column:>9}")).concat());
    for Row { kernel, entry, figures } in &rows {
        let name = format!("{kernel}::{entry}");
        println!("{name:<48}{}", figures.map(|figure| format!("{figure:>9}")).concat());
    }
    if !left_out.is_empty() {
        println!("no such matrices here: {}", left_out.join(", "));
    }
    let compiled = gpu_kernels().into_iter().filter(|kernel| !left_out.contains(&kernel.name));
    let entries: usize = compiled.map(|kernel| kernel.source.matches("@compute").count()).sum();
    if rows.len() != entries {
        return Err(format!("{} of {entries} entry points were compiled", rows.len()));
    }
    Ok(rows)
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (kernel, entry) = (words.next()?.into(), words.next()?.into());
        let figures: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { kernel, entry, figures: figures.try_into().ok()? })
    }

    fn trial(self, chip: &str) -> Trial {
        let name = format!("{}::{}", self.kernel, self.entry);
        let is_emulated = chip == WITHOUT_BYTES && name.contains("_i8_");
        Trial::test(format!("{chip}::{name}"), move || {
            let [registers, waves, spilled, .., share] = self.figures;
            if spilled > 0 {
                return Err(format!("{spilled} registers are spilled").into());
            }
            // What was compiled to nothing would spill nothing.
            if registers == 0 || waves == 0 {
                return Err(format!("{registers} registers, {waves} waves: the driver gave no statistics").into());
            }
            if PRODUCTS.contains(&name.as_str()) && !is_emulated && share < PRODUCT_SHARE {
                return Err(format!("{share} % of the product's vector instructions are multiply-adds").into());
            }
            Ok(())
        })
    }
}
