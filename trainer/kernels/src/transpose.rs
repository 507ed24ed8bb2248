//! Transposition of matrices with padded rows.

use crate::simd::Simd;

/// `output[c][r] = input[r][c]` for `rows` x `columns`; strides are distances between the rows of each.
///
/// # Safety
/// The CPU has `S`'s instructions.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(
    rows: usize,
    columns: usize,
    input: &[f32],
    input_stride: usize,
    output: &mut [f32],
    output_stride: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(rows <= output_stride && columns <= input_stride);
    assert!((rows - 1) * input_stride + columns <= input.len());
    assert!((columns - 1) * output_stride + rows <= output.len());
    let (whole_rows, whole_columns) = (rows / 4 * 4, columns / 4 * 4);
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: by the assertions every index below lies within its slice.
    unsafe {
        for column in (0..whole_columns).step_by(4) {
            for row in (0..whole_rows).step_by(4) {
                let from = from.add(row * input_stride + column);
                let read = |r: usize| from.add(r * input_stride).cast::<[f32; 4]>().read_unaligned();
                let (a, b, c, d) = (read(0), read(1), read(2), read(3));
                for lane in 0..4 {
                    let to = to.add((column + lane) * output_stride + row).cast::<[f32; 4]>();
                    to.write_unaligned([a[lane], b[lane], c[lane], d[lane]]);
                }
            }
        }
        for row in 0..rows {
            let first = if row < whole_rows { whole_columns } else { 0 };
            for column in first..columns {
                *to.add(column * output_stride + row) = *from.add(row * input_stride + column);
            }
        }
    }
}
