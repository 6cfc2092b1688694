//! Rows scaled to unit length.

use crate::device::data::buffer::{Buffer, Matrix};
use crate::error::Result;
use crate::features;

pub(crate) fn l2_normalize(rows: &Matrix) -> Result<Matrix> {
    let mut unit = rows.data.host("l2_normalize")?.to_vec();
    features::l2_normalize(&mut unit, rows.dim);
    Ok(Matrix::new(Buffer::on_host(unit), rows.rows, rows.dim, rows.stride))
}
