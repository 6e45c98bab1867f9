//! The matrix product under every convolution: C (+)= A·B with a block of C held in registers, `Simd::ROWS` rows by two vectors.
//!
//! A is read one value at a time through three strides, so that it can be rows of pixels (convolution), columns of them (its
//! weight gradient), or overlapping windows of a row (the taps of a 3×3 kernel). The inner dimension is `blocks × depth`.

use crate::pack::PanelShape;
use crate::simd::{Simd, Vectorized};

/// The left factor: value (row r, inner index k of block b) is at `b·block + r·row + k·inner`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub inner: usize,
    pub block: usize,
}

/// The right factor, in columns padded to whole vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right<'a> {
    /// One of the matrices of packed panels: its blocks lie one behind the other.
    Matrices { data: &'a [f32], shape: PanelShape, number: usize },
    /// Row-major: inner index k of block b is the row at `b·block + k·inner`.
    Rows { data: &'a [f32], inner: usize, block: usize },
}

/// A product to run; columns are rounded up to whole vectors, in C too.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub left: Left<'a>,
    pub right: Right<'a>,
    pub rows: usize,
    pub cols: usize,
    /// Inner indices of a block.
    pub depth: usize,
    pub blocks: usize,
    /// C, row-major, rows `out_row` apart.
    pub out: &'a mut [f32],
    pub out_row: usize,
    /// Whether to add to C or to overwrite it.
    pub add: bool,
}

/// One panel of columns, all pointers and strides plain.
#[derive(Clone, Copy)]
struct Panel {
    a: *const f32,
    a_row: usize,
    a_inner: usize,
    a_block: usize,
    b: *const f32,
    b_inner: usize,
    b_block: usize,
    depth: usize,
    blocks: usize,
    c: *mut f32,
    c_row: usize,
    add: bool,
}

impl Product<'_> {
    /// Stops a product that would leave its slices.
    fn check(&self, width: usize) {
        let (last_block, last_inner) = (self.blocks - 1, self.depth - 1);
        let a = last_block * self.left.block + (self.rows - 1) * self.left.row + last_inner * self.left.inner;
        assert!(a < self.left.data.len(), "the left factor ends before the product does");
        let cols = self.cols.next_multiple_of(width);
        let (b, have) = match self.right {
            Right::Matrices { data, shape, number } => {
                let fits = shape.width == width && shape.cols == self.cols && shape.depth == self.blocks * self.depth;
                assert!(fits && number < shape.matrices, "{shape:?} is not the right factor of this product");
                (shape.len(), data.len())
            }
            Right::Rows { data, inner, block } => (last_block * block + last_inner * inner + cols, data.len()),
        };
        assert!(b <= have, "the right factor ends before the product does");
        assert!(self.out_row >= cols || self.rows == 1, "rows of the result overlap");
        assert!((self.rows - 1) * self.out_row + cols <= self.out.len(), "the result ends before the product does");
    }
}

impl Vectorized for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.rows == 0 || self.cols == 0 || self.depth == 0 || self.blocks == 0 {
            assert!(self.add || self.rows == 0 || self.cols == 0, "an empty sum has no place here");
            return;
        }
        self.check(S::WIDTH);
        let (two, mut col, mut panel_number) = (2 * S::WIDTH, 0, 0);
        let cols = self.cols.next_multiple_of(S::WIDTH);
        while col < cols {
            let wide = cols - col >= two;
            let width = if wide { two } else { S::WIDTH };
            let (b, b_inner, b_block) = match self.right {
                Right::Matrices { data, shape, number } => {
                    let at = panel_number * shape.panel() + number * shape.depth * width;
                    (data[at..].as_ptr(), width, self.depth * width)
                }
                Right::Rows { data, inner, block } => (data[col..].as_ptr(), inner, block),
            };
            let panel = Panel {
                a: self.left.data.as_ptr(),
                a_row: self.left.row,
                a_inner: self.left.inner,
                a_block: self.left.block,
                b,
                b_inner,
                b_block,
                depth: self.depth,
                blocks: self.blocks,
                c: self.out[col..].as_mut_ptr(),
                c_row: self.out_row,
                add: self.add,
            };
            // SAFETY: `check` proved that all of A, of this panel of B and of C lie inside their slices.
            unsafe {
                match wide {
                    true => down::<S, 2>(s, panel, self.rows),
                    false => down::<S, 1>(s, panel, self.rows),
                }
            }
            (col, panel_number) = (col + width, panel_number + 1);
        }
    }
}

/// Goes down the rows in groups as equal as can be, none above `S::ROWS`.
///
/// # Safety
/// All values that the panel names for `rows` rows and `V` vectors of columns are inside their allocations.
#[inline(always)]
unsafe fn down<S: Simd, const V: usize>(s: S, p: Panel, rows: usize) {
    let groups = rows.div_ceil(S::ROWS);
    for g in 0..groups {
        let (from, to) = (g * rows / groups, (g + 1) * rows / groups);
        // SAFETY: rows `from..to` are among the caller's.
        let part = unsafe { Panel { a: p.a.add(from * p.a_row), c: p.c.add(from * p.c_row), ..p } };
        macro_rules! groups_of {
            ($($n:literal)*) => {
                match to - from {
                    $($n if $n <= S::ROWS => {
                        // SAFETY: the caller's promise, for these rows.
                        unsafe { block::<S, $n, V>(s, part) }
                    })*
                    n => unreachable!("a group of {n} rows"),
                }
            };
        }
        groups_of!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
}

/// R rows by V vectors of C.
///
/// # Safety
/// All values that the panel names for R rows and V vectors of columns are inside their allocations.
#[inline(always)]
unsafe fn block<S: Simd, const R: usize, const V: usize>(s: S, p: Panel) {
    let mut acc = [[s.zero(); V]; R];
    // Pointers wrap: the last step leaves them behind the end, where nothing is read, and nothing is checked in the loop.
    let (mut block_a, mut block_b) = (p.a, p.b);
    for _ in 0..p.blocks {
        let (mut a, mut b) = (block_a, block_b);
        for _ in 0..p.depth {
            let mut columns = [s.zero(); V];
            for v in 0..V {
                // SAFETY: inside B by the caller's promise.
                columns[v] = unsafe { s.load(b.wrapping_add(v * S::WIDTH)) };
            }
            for r in 0..R {
                // SAFETY: inside A by the caller's promise.
                let x = unsafe { s.splat_from(a.wrapping_add(r.wrapping_mul(p.a_row))) };
                for v in 0..V {
                    acc[r][v] = s.fma(x, columns[v], acc[r][v]);
                }
            }
            (a, b) = (a.wrapping_add(p.a_inner), b.wrapping_add(p.b_inner));
        }
        (block_a, block_b) = (block_a.wrapping_add(p.a_block), block_b.wrapping_add(p.b_block));
    }
    for r in 0..R {
        for v in 0..V {
            // SAFETY: inside C by the caller's promise.
            unsafe {
                let c = p.c.add(r * p.c_row + v * S::WIDTH);
                let sum = if p.add { s.add(s.load(c), acc[r][v]) } else { acc[r][v] };
                s.store(c, sum);
            }
        }
    }
}
