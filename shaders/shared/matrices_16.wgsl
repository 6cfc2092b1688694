// For shared/matrix_tile: matrices of 16 × 16. This stands before all else, as `enable` must.

enable f16;
enable wgpu_cooperative_matrix;

const SIZE: u32 = 16u;
alias RowMatrix = coop_mat16x16<f16, A>;
alias CentroidMatrix = coop_mat16x16<f16, B>;
alias SumMatrix = coop_mat16x16<f32, C>;

