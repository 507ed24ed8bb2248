//! Register tiles: some rows by one or two blocks of [`LANES`] columns of a matrix product, every element one chain of
//! fused multiply-adds in the order of the summed index.

use std::hint::assert_unchecked;

use crate::LANES;
use crate::simd::Simd;

/// The two factors of a product `A B`, of which a tile takes a few rows of A and a few blocks of columns of B.
///
/// `A[row, k]` lies at `a + row * a_row + k * a_step`; the values of B's block `block` for `k`, [`LANES`] of them, from
/// `b + block * b_block + k * b_step`.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    pub(crate) b: *const f32,
    pub(crate) b_block: usize,
    pub(crate) b_step: usize,
}

/// Sums of a tile: `ROWS` rows of `VECTORS` vectors, which lie side by side in one or more blocks.
pub(crate) type Sums<S, const ROWS: usize, const VECTORS: usize> = [[<S as Simd>::V; VECTORS]; ROWS];

/// A computation by register tiles, for [`sweep`].
pub(crate) trait Tile {
    /// Computes rows `row..row + ROWS` and the blocks from `block` of the line `line`.
    ///
    /// # Safety
    /// The CPU has `S`'s instructions, and the rows and blocks are within what [`sweep`] was called with.
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        line: usize,
        row: usize,
        block: usize,
    );
}

/// Cuts `lines` times `rows` by `blocks` into register tiles as large as the instruction set has registers for.
///
/// # Safety
/// What `tile` asks for those sizes.
#[inline(always)]
pub(crate) unsafe fn sweep<S: Simd, T: Tile>(lines: usize, rows: usize, blocks: usize, tile: &T) {
    // SAFETY: every row and block is visited within the sizes given.
    unsafe {
        let mut block = 0;
        if S::LEN == LANES {
            while block + 2 <= blocks {
                column::<S, T, 8, 2>(lines, rows, block, tile);
                block += 2;
            }
            if block < blocks {
                column::<S, T, 8, 1>(lines, rows, block, tile);
            }
        } else if S::LEN == LANES / 2 {
            for block in 0..blocks {
                column::<S, T, 6, 2>(lines, rows, block, tile);
            }
        } else {
            for block in 0..blocks {
                column::<S, T, 4, 4>(lines, rows, block, tile);
            }
        }
    }
}

/// All lines and rows for the blocks of one tile.
#[inline(always)]
unsafe fn column<S: Simd, T: Tile, const ROWS: usize, const VECTORS: usize>(
    lines: usize,
    rows: usize,
    block: usize,
    tile: &T,
) {
    for line in 0..lines {
        let mut row = 0;
        // SAFETY: as many rows as are left.
        unsafe {
            while rows - row >= ROWS {
                tile.tile::<S, ROWS, VECTORS>(line, row, block);
                row += ROWS;
            }
            if ROWS > 4 && rows - row >= 4 {
                tile.tile::<S, 4, VECTORS>(line, row, block);
                row += 4;
            }
            if rows - row >= 2 {
                tile.tile::<S, 2, VECTORS>(line, row, block);
                row += 2;
            }
            if rows - row >= 1 {
                tile.tile::<S, 1, VECTORS>(line, row, block);
            }
        }
    }
}

/// Where vector `vector` of a tile begins, `stride` values between its blocks.
#[inline(always)]
pub(crate) fn offset<S: Simd>(vector: usize, stride: usize) -> usize {
    let per_block = LANES / S::LEN;
    vector / per_block * stride + vector % per_block * S::LEN
}

/// Hides where a pointer comes from: the compiler then neither merges loads across unrolled code, which costs it its
/// registers, nor computes every address anew.
#[allow(clippy::pointers_in_nomem_asm_block, reason = "the block has no instruction")]
#[inline(always)]
pub(crate) fn opaque(mut pointer: *const f32) -> *const f32 {
    // SAFETY: no instruction at all.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// `sums[row][column] = fma(A[row, k], B[k, column], sums[row][column])` for `k` from 0 to `length`, in sequence.
///
/// # Safety
/// The CPU has `S`'s instructions; the factors are readable for `ROWS` rows, the tile's blocks and `length`.
#[inline(always)]
pub(crate) unsafe fn chain<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: &mut Sums<S, ROWS, VECTORS>,
    length: usize,
    factors: Factors,
) {
    let Factors { a, a_row, a_step, b, b_block, b_step } = factors;
    // SAFETY: within what the caller vouches for; `ROWS` is 8 at most.
    unsafe {
        assert_unchecked(ROWS <= 12);
        // Three rows a pointer: an address is a pointer plus no, one or two strides.
        let mut a: [*const f32; 4] = std::array::from_fn(|i| opaque(a.wrapping_add(3 * i * a_row)));
        let mut b: [*const f32; 2] = std::array::from_fn(|i| opaque(b.wrapping_add(i * b_block)));
        for _ in 0..length {
            let mut columns = [S::zero(); VECTORS];
            for (vector, column) in columns.iter_mut().enumerate() {
                let per_block = LANES / S::LEN;
                *column = S::load(b[vector / per_block].add(vector % per_block * S::LEN));
            }
            for row in 0..ROWS {
                let value = S::splat(*a[row / 3].add(row % 3 * a_row));
                for vector in 0..VECTORS {
                    sums[row][vector] = S::fma(value, columns[vector], sums[row][vector]);
                }
            }
            a = a.map(|pointer| pointer.wrapping_add(a_step));
            b = b.map(|pointer| pointer.wrapping_add(b_step));
        }
    }
}

/// Loads a tile whose rows are `row` and whose blocks are `block` values apart.
///
/// # Safety
/// The CPU has `S`'s instructions; the tile is readable.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd, const ROWS: usize, const VECTORS: usize>(
    from: *const f32,
    row: usize,
    block: usize,
) -> Sums<S, ROWS, VECTORS> {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for (index, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(from.add(index * row + offset::<S>(vector, block)));
            }
        }
        sums
    }
}

/// Stores a tile whose rows are `row` and whose blocks are `block` values apart.
///
/// # Safety
/// The CPU has `S`'s instructions; the tile is writable.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
    to: *mut f32,
    row: usize,
    block: usize,
    sums: &Sums<S, ROWS, VECTORS>,
) {
    // SAFETY: the caller's.
    unsafe {
        for (index, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                S::store(to.add(index * row + offset::<S>(vector, block)), *sum);
            }
        }
    }
}
