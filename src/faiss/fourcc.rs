//! The four characters that open every object of a faiss file, and what they stand for.

use std::fmt;

/// Four ASCII characters in a healthy file, any four bytes in another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FourCc(pub(super) [u8; 4]);

impl FourCc {
    pub(super) const FLAT_L2: Self = Self(*b"IxF2");
    pub(super) const FLAT_IP: Self = Self(*b"IxFI");
    pub(super) const IVF_FLAT: Self = Self(*b"IwFl");
    pub(super) const PQ_FAST_SCAN: Self = Self(*b"IPfs");
    pub(super) const IVF_PQ_FAST_SCAN: Self = Self(*b"IwPf");
    pub(super) const REFINE: Self = Self(*b"IxRF");
    pub(super) const PRE_TRANSFORM: Self = Self(*b"IxPT");
    pub(super) const NORMALIZATION: Self = Self(*b"VNrm");
    pub(super) const ARRAY_LISTS: Self = Self(*b"ilar");
    pub(super) const BLOCK_LISTS: Self = Self(*b"ilbl");
    pub(super) const FULL_SIZES: Self = Self(*b"full");
    pub(super) const SPARSE_SIZES: Self = Self(*b"sprs");

    /// What faiss keeps under these characters; `None` where they are none of faiss's.
    pub(super) fn meaning(self) -> Option<&'static str> {
        let meaning = match &self.0 {
            b"IxF2" | b"IxFI" => "a flat index",
            b"IxFl" => "a flat index with a metric other than L2 and inner product",
            b"IxFP" | b"IxFp" => "a flat Panorama index",
            b"IxPT" => "a pre-transform index",
            b"IxRF" | b"IxRP" => "a refining index",
            b"IxMp" | b"IxM2" => "an id map",
            b"IxHE" | b"IxHe" => "an LSH index",
            b"IxSQ" => "a scalar quantizer index",
            b"IxPQ" | b"IxPo" | b"IxPq" => "a product quantizer index",
            b"IPfs" => "a fast-scan index without inverted lists",
            b"IxRQ" | b"IxRq" | b"IxLS" | b"IxPR" | b"IxPL" | b"ImRQ" => "an additive quantizer index",
            b"ILfs" | b"IRfs" | b"IPRf" | b"IPLf" => "an additive quantizer fast-scan index",
            b"Ixrq" | b"Ixrr" | b"Irfn" | b"Irfs" => "a RaBitQ index",
            b"IxEd" | b"IxEe" => "an EDEN index",
            b"IxLa" => "a lattice index",
            b"Ix2L" => "a two-level index",
            b"Imiq" => "a multi-index quantizer",
            b"IRMf" | b"IRMh" => "a row-wise min-max index",
            b"IwFl" => "an IVF,Flat index",
            b"IvFl" | b"IvFL" => "an IVF,Flat index in faiss's old layout",
            b"IwFd" => "an IVF,Flat index without duplicates",
            b"IwPn" | b"IwP2" => "an IVF Panorama index",
            b"IvSQ" | b"IwSQ" | b"IwSq" => "an IVF scalar quantizer index",
            b"IvPQ" | b"IvQR" | b"IwPQ" | b"IwQR" => "an IVF product quantizer index",
            b"IwPf" => "a fast-scan index",
            b"IwLS" | b"IwRQ" | b"IwPL" | b"IwPR" => "an IVF additive quantizer index",
            b"IVLf" | b"IVRf" | b"NPLf" | b"NPRf" => "an IVF additive quantizer fast-scan index",
            b"Iwrq" | b"Iwrr" | b"Iwrf" | b"Iwrn" => "an IVF RaBitQ index",
            b"IwEd" | b"IwEe" => "an IVF EDEN index",
            b"IwSh" => "an IVF spectral hash index",
            b"IwIQ" => "an IVF index with an independent quantizer",
            b"IHNf" | b"IHNp" | b"IHNs" | b"IHN2" | b"IHNc" | b"IHc2" | b"IHfP" | b"IH00" => "an HNSW index",
            b"INSf" | b"INSp" | b"INSs" | b"INNf" => "a neighbour graph index",
            b"ILVQ" | b"ISVL" | b"ISVD" | b"ISV2" | b"ISVF" | b"ISIQ" | b"ISIL" | b"ISID" => "an SVS index",
            [b'I', b'B', ..] => "a binary index",
            b"null" => "no index at all",
            b"VNrm" => "a normalisation",
            b"LTra" => "a linear transform (OPQ)",
            b"Pcam" | b"PcAm" | b"PCAm" => "a PCA",
            b"rrot" | b"HRot" => "a random rotation",
            b"RmDT" => "a choice of dimensions",
            b"VCnt" => "a centering",
            b"Viqm" | b"Viqt" => "an ITQ transform",
            b"ilar" => "an array of lists",
            b"ilbl" => "an array of blocks",
            b"ilod" => "a reference to lists in another file",
            b"ilpn" | b"ilp2" => "an array of Panorama lists",
            b"il00" => "an empty place: the lists were not stored with the index",
            _ => return None,
        };
        Some(meaning)
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}
