//! What comes of a blend.

/// What became of a frame in a blend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlendOutcome {
    /// It was blended with its neighbours.
    Blended,
    /// It has NaN or infinity in it, and is as it was.
    PassedThrough,
    /// It has no neighbour that counts, and is as it was.
    WithoutNeighbors,
}

impl BlendOutcome {
    /// As the shader numbers them.
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Blended,
            1 => Self::PassedThrough,
            _ => Self::WithoutNeighbors,
        }
    }
}

/// Blended frames, and what became of each.
#[derive(Clone, Debug, PartialEq)]
pub struct BlendedRows {
    /// Row-major.
    pub rows: Vec<f32>,
    /// One a frame.
    pub outcomes: Vec<BlendOutcome>,
}
