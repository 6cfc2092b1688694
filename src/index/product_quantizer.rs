//! The product quantizer: a row cut into parts, each of them one of 16 codewords.

use crate::error::{Error, Result};

pub use crate::device::PQ_CENTROIDS as CODEWORDS;

/// Cuts a row of d floats into M parts of d / M floats, and names each part by the nearest of its 16 codewords.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductQuantizer {
    dim: usize,
    m: usize,
    /// M × 16 × d / M; empty until trained.
    codebooks: Vec<f32>,
}

impl ProductQuantizer {
    /// A quantizer of `m` parts with the given codewords, M × 16 × d / M; without any it is untrained.
    ///
    /// # Errors
    /// [`Error::Parameter`] where M does not divide d, or the number of floats is neither 16·d nor 0.
    pub fn new(dim: usize, m: usize, codebooks: Vec<f32>) -> Result<Self> {
        if dim == 0 || dim.checked_rem(m) != Some(0) {
            let found = format!("cuts {dim} dimensions into {m} parts");
            return Err(Error::parameter("M", found, "choose an M that divides d"));
        }
        if !codebooks.is_empty() && dim.checked_mul(CODEWORDS) != Some(codebooks.len()) {
            let found = format!("{} floats for {dim} dimensions", codebooks.len());
            return Err(Error::parameter("codebooks", found, format!("pass {CODEWORDS} codewords for each part")));
        }
        Ok(Self { dim, m, codebooks })
    }

    /// Floats a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of parts, M.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Floats a part, d / M.
    pub fn dsub(&self) -> usize {
        self.dim / self.m
    }

    /// Bytes of a row's flat code, in which part s has the low nibble of byte s / 2 where s is even, else the high one.
    pub fn code_size(&self) -> usize {
        self.m.div_ceil(2)
    }

    /// The codewords, M × 16 × d / M; empty until trained.
    pub fn codebooks(&self) -> &[f32] {
        &self.codebooks
    }

    /// True where there are codewords.
    pub fn is_trained(&self) -> bool {
        !self.codebooks.is_empty()
    }

    /// Fails where `made` things are there that only a trained quantizer can have made.
    pub(super) fn check_made(&self, made: usize) -> Result<()> {
        if made > 0 && !self.is_trained() {
            return Err(Error::parameter("codebooks", "there are none", "pass the codewords that codes name"));
        }
        Ok(())
    }

    /// The rows that flat codes stand for, row-major; none where there are no codewords.
    pub fn decode(&self, codes: &[u8]) -> Vec<f32> {
        let codebooks = self.codebooks.chunks_exact(CODEWORDS * self.dsub());
        let rows = codes.chunks_exact(self.code_size()).flat_map(|code| {
            codebooks.clone().enumerate().flat_map(|(part, codewords)| {
                let codeword = usize::from(code[part / 2] >> (part % 2 * 4) & 15);
                &codewords[codeword * self.dsub()..][..self.dsub()]
            })
        });
        rows.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_decoded_low_nibble_first() {
        // Codeword c of part s is (100 s + c, -c).
        let codebooks = (0..48).flat_map(|i| [(i / 16 * 100 + i % 16) as f32, -(i as f32 % 16.0)]).collect();
        let pq = ProductQuantizer::new(6, 3, codebooks).unwrap();
        assert_eq!((pq.dsub(), pq.code_size(), pq.is_trained()), (2, 2, true));
        assert_eq!(
            pq.decode(&[0x2f, 0x01, 0x00, 0x03]),
            [15., -15., 102., -2., 201., -1., 0., 0., 100., 0., 203., -3.]
        );
    }

    #[test]
    fn shapes_are_checked() {
        assert!(ProductQuantizer::new(6, 3, Vec::new()).is_ok_and(|pq| !pq.is_trained()));
        for (dim, m, floats) in [(0, 1, 0), (6, 0, 0), (6, 4, 0), (6, 12, 0), (6, 3, 95), (usize::MAX, 1, 16)] {
            assert!(ProductQuantizer::new(dim, m, vec![0.0; floats]).unwrap_err().is_usage(), "{dim} {m} {floats}");
        }
    }
}
