//! Reads a factory string from left to right, and points at the place where it stops making sense.

use super::{Codes, IndexSpec, Ivf};
use crate::error::{Error, Result};

const FORMS: &str = "write one of\n  \
    Flat | IVFn,Flat | PQMx4fs | IVFn,PQMx4fs | IVFn,PQMx4fsr (r: residuals)\n\
    with L2norm, before it or ,RFlat (also ,Refine(Flat)) after it, if wanted;\n\
    n and M are numbers, n also with k (×1024) or M (×1048576) behind it";

/// The whole grammar: `[L2norm,] [IVFn,] Flat | PQMx4fs[r] [,RFlat | ,Refine(Flat)]`.
pub(super) fn index_spec(text: &str) -> Result<IndexSpec> {
    let mut input = Input { text, rest: text };
    let l2norm = input.eat("L2norm,");
    let ivf = ivf(&mut input)?;
    let codes = codes(&mut input, ivf.is_some())?;
    let refine = input.eat(",RFlat") || input.eat(",Refine(Flat)");
    match input.rest {
        "" => Ok(IndexSpec { l2norm, ivf, codes, refine }),
        _ if refine => Err(input.error("expected the end")),
        _ => Err(input.error("expected the end, ,RFlat or ,Refine(Flat)")),
    }
}

fn ivf(input: &mut Input<'_>) -> Result<Option<Ivf>> {
    if !input.eat("IVF") {
        return Ok(None);
    }
    let nlist = input.number("nlist", &[("k", 1 << 10), ("M", 1 << 20)])?;
    input.expect(",")?;
    Ok(Some(Ivf { nlist }))
}

fn codes(input: &mut Input<'_>, in_ivf: bool) -> Result<Codes> {
    if input.eat("Flat") {
        return Ok(Codes::Flat);
    }
    if !input.eat("PQ") {
        return Err(input.error(if in_ivf { "expected Flat or PQ" } else { "expected Flat, IVF or PQ" }));
    }
    let m = input.number("M", &[])?;
    input.expect("x4fs")?;
    if !in_ivf && input.rest.starts_with('r') {
        return Err(input.error("residuals are taken from an IVF's centroids, and there is no IVF here"));
    }
    Ok(Codes::PqFastScan { m, by_residual: input.eat("r") })
}

/// A text of which `rest` is still to be read.
#[derive(Clone, Copy)]
struct Input<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Input<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.error(&format!("expected {token}"))) }
    }

    /// A positive number with one of the units behind it, or `None` where no digit stands.
    fn number(&mut self, name: &str, units: &[(&str, usize)]) -> Result<Option<usize>> {
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(digits) = self.rest.strip_suffix(after).filter(|digits| !digits.is_empty()) else {
            return Ok(None);
        };
        let start = *self;
        self.rest = after;
        let unit = units.iter().find(|(unit, _)| self.eat(unit)).map_or(1, |(_, factor)| *factor);
        match digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)) {
            None => Err(start.error(&format!("{name} is too large"))),
            Some(0) => Err(start.error(&format!("{name} must be at least 1"))),
            number => Ok(number),
        }
    }

    /// An error with a caret under the place that is read next. Control characters are shown escaped, so that the
    /// caret stays under its place.
    fn error(&self, message: &str) -> Error {
        let read = self.text.strip_suffix(self.rest).unwrap_or_default();
        let indent = " ".repeat(read.escape_debug().count());
        Error::parameter(
            "factory",
            format_args!("cannot read this index\n  {}\n  {indent}^ {message}", self.text.escape_debug()),
            FORMS,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> IndexSpec {
        index_spec(text).unwrap()
    }

    #[test]
    fn reads_what_faiss_reads() {
        let flat = IndexSpec { l2norm: false, ivf: None, codes: Codes::Flat, refine: false };
        let ivf = |nlist| Some(Ivf { nlist });
        let pq = |m, by_residual| Codes::PqFastScan { m, by_residual };
        for (text, spec) in [
            ("Flat", flat.clone()),
            ("IVF1024,Flat", IndexSpec { ivf: ivf(Some(1024)), ..flat.clone() }),
            ("IVF,Flat", IndexSpec { ivf: ivf(None), ..flat.clone() }),
            ("IVF64k,Flat", IndexSpec { ivf: ivf(Some(65536)), ..flat.clone() }),
            ("IVF2M,Flat", IndexSpec { ivf: ivf(Some(2097152)), ..flat.clone() }),
            ("PQ128x4fs", IndexSpec { codes: pq(Some(128), false), ..flat.clone() }),
            ("PQx4fs,RFlat", IndexSpec { codes: pq(None, false), refine: true, ..flat.clone() }),
            ("Flat,Refine(Flat)", IndexSpec { refine: true, ..flat.clone() }),
            ("L2norm,Flat", IndexSpec { l2norm: true, ..flat.clone() }),
            (
                "L2norm,IVF1024,PQ128x4fsr,RFlat",
                IndexSpec { l2norm: true, ivf: ivf(Some(1024)), codes: pq(Some(128), true), refine: true },
            ),
        ] {
            assert_eq!(parse(text), spec, "{text}");
        }
        assert_eq!(parse("Flat,Refine(Flat)").to_string(), "Flat,RFlat");
    }

    #[test]
    fn errors_point_at_the_place() {
        for (text, column, said) in [
            ("", 0, "expected Flat, IVF or PQ"),
            (" Flat", 0, "expected Flat, IVF or PQ"),
            ("flat", 0, "expected Flat"),
            ("IVF16", 5, "expected ,"),
            ("IVF16,", 6, "expected Flat or PQ"),
            ("IVF16,SQ8", 6, "expected Flat or PQ"),
            ("IVF16,L2norm,Flat", 6, "expected Flat or PQ"),
            ("IVFk,Flat", 3, "expected ,"),
            ("IVF-1,Flat", 3, "expected ,"),
            ("IVF0,Flat", 3, "nlist must be at least 1"),
            ("IVF00M,Flat", 3, "nlist must be at least 1"),
            ("IVF18446744073709551616,Flat", 3, "nlist is too large"),
            ("IVF18446744073709551615k,Flat", 3, "nlist is too large"),
            ("PQ0x4fs", 2, "M must be at least 1"),
            ("PQ8kx4fs", 3, "expected x4fs"),
            ("PQ8x8fs", 3, "expected x4fs"),
            ("PQ8x4fsr", 7, "residuals"),
            ("PQ8x4fs_64", 7, "expected the end"),
            ("Flat,Rflat", 4, ",RFlat"),
            ("Flat,RFlat,RFlat", 10, "expected the end"),
            ("Flat é", 4, "expected the end"),
            ("\n", 0, "expected Flat"),
        ] {
            let error = index_spec(text).unwrap_err().to_string();
            let lines: Vec<_> = error.lines().collect();
            assert_eq!(lines[1], format!("  {}", text.escape_debug()));
            assert_eq!(lines[2].find('^'), Some(2 + column), "{error}");
            assert!(lines[2].contains(said), "{error}");
            assert!(error.contains("IVFn,PQMx4fs"), "{error}");
        }
        assert!(index_spec("").unwrap_err().is_usage());
    }

    #[test]
    fn an_error_reads_well() {
        assert_eq!(
            index_spec("IVF16,Foo").unwrap_err().to_string(),
            "factory: cannot read this index\n  IVF16,Foo\n        ^ expected Flat or PQ; write one of\n  \
             Flat | IVFn,Flat | PQMx4fs | IVFn,PQMx4fs | IVFn,PQMx4fsr (r: residuals)\n\
             with L2norm, before it or ,RFlat (also ,Refine(Flat)) after it, if wanted;\n\
             n and M are numbers, n also with k (×1024) or M (×1048576) behind it"
        );
    }
}
