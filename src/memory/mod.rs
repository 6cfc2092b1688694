//! Memory that grows with the input: asked for before it is used, so that where it is short there is an error to read.
//!
//! Linux gives out more than there is and kills whoever then uses it, so large requests are compared with what is free:
//! on the machine, under the limits of the control groups (containers, `systemd-run`) and of the process (`ulimit`).

mod limits;

use std::hint::black_box;

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_vec;

use crate::error::{Error, Result};
pub use limits::free_memory;

/// Requests from here on are compared with what is free; smaller ones come and go with each batch.
const LARGE: u64 = 4 << 20;
/// What has to be left for small requests, which are not checked.
const SPARE: u64 = 24 << 20;

/// Fails where `bytes` more than this process has now are not to be had. `what` names them in the error.
///
/// # Errors
/// [`Error::Memory`].
pub fn check_memory(bytes: u64, what: &'static str) -> Result<()> {
    if bytes < LARGE {
        return Ok(());
    }
    let wanted = bytes.saturating_add(SPARE);
    if is_free(wanted) {
        return Ok(());
    }
    limits::return_freed();
    if is_free(wanted) { Ok(()) } else { Err(short(bytes, what)) }
}

/// Whether so many bytes are to be had, by what the system tells and by asking for them.
fn is_free(bytes: u64) -> bool {
    let mut probe = Vec::<u8>::new();
    let had = usize::try_from(bytes).is_ok_and(|bytes| probe.try_reserve_exact(bytes).is_ok());
    // A probe that nobody looks at would be optimised away.
    black_box(&mut probe);
    drop(probe);
    had && limits::free_with_swap().is_none_or(|free| bytes <= free)
}

fn short(need: u64, what: &'static str) -> Error {
    Error::Memory { what, need, free: free_memory().saturating_sub(SPARE) }
}

fn bytes_of<T>(len: usize) -> u64 {
    (len as u64).saturating_mul(size_of::<T>() as u64)
}

/// `len` zeros.
pub(crate) fn zeros<T: Zeroable>(len: usize, what: &'static str) -> Result<Vec<T>> {
    check_memory(bytes_of::<T>(len), what)?;
    // Memory that is zero from the system is not written to.
    try_zeroed_vec(len).map_err(|()| short(bytes_of::<T>(len), what))
}

/// `len` times `value`.
pub(crate) fn filled<T: Clone>(len: usize, value: T, what: &'static str) -> Result<Vec<T>> {
    let mut values = with_capacity(len, what)?;
    values.resize(len, value);
    Ok(values)
}

/// A copy.
pub(crate) fn copied<T: Copy>(values: &[T], what: &'static str) -> Result<Vec<T>> {
    let mut copy = with_capacity(values.len(), what)?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// An empty vector with room for `len` values.
pub(crate) fn with_capacity<T>(len: usize, what: &'static str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    reserve(&mut values, len, what)?;
    Ok(values)
}

/// Makes room for exactly `more` values behind those that are there.
pub(crate) fn reserve<T>(values: &mut Vec<T>, more: usize, what: &'static str) -> Result<()> {
    if values.capacity() - values.len() >= more {
        return Ok(());
    }
    // While the values move, there are both the old and the new ones.
    let bytes = bytes_of::<T>(values.len().saturating_add(more));
    check_memory(bytes, what)?;
    values.try_reserve_exact(more).map_err(|_| short(bytes, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_made_as_asked() {
        assert_eq!(zeros::<f32>(3, "x").unwrap(), [0.0; 3]);
        assert_eq!(filled(2, -1_i64, "x").unwrap(), [-1, -1]);
        let mut copy = copied(&[1u8, 2], "x").unwrap();
        reserve(&mut copy, 100, "x").unwrap();
        assert!(copy.capacity() >= 102 && copy == [1, 2]);
        assert_eq!(zeros::<f32>((LARGE / 4) as usize, "x").unwrap().len() as u64, LARGE / 4);
    }

    #[test]
    fn what_no_machine_has_is_an_error_that_names_the_need() {
        let len = 1 << 50;
        for error in [
            zeros::<f32>(len, "the rows").unwrap_err(),
            filled(len, 1.0_f32, "the rows").unwrap_err(),
            with_capacity::<f32>(len, "the rows").unwrap_err(),
            check_memory(4 << 50, "the rows").unwrap_err(),
        ] {
            let said = error.to_string();
            assert!(said.starts_with("memory: the rows need 4503599627 MB, and"), "{said}");
        }
        assert!(reserve(&mut vec![0u64; 2], usize::MAX, "x").is_err());
    }
}
