// For shared/matrix_tile: matrices of 8 × 8. This stands before all else, as `enable` must.

enable f16;
enable wgpu_cooperative_matrix;

const SIZE: u32 = 8u;
alias RowMatrix = coop_mat8x8<f16, A>;
alias CentroidMatrix = coop_mat8x8<f16, B>;
alias SumMatrix = coop_mat8x8<f32, C>;

