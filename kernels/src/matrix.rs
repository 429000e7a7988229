//! A matrix of weights in borrowed memory: row after row as in a file, or in strips.

use crate::block::BlockType;
use crate::interleaved::InterleavedLayout;
use crate::pruned::BitPlaneLayout;
use crate::reference;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    #[error("a {kind} matrix of {rows} x {cols}: {cols} columns are not a whole number of blocks of {block}")]
    NotWholeBlocks { kind: BlockType, rows: usize, cols: usize, block: usize },
    #[error("a {kind} matrix of {rows} x {cols}: its size does not fit this machine's addresses")]
    TooLarge { kind: BlockType, rows: usize, cols: usize },
    #[error("a {kind} matrix of {rows} x {cols} has {expected} bytes, but {got} were given; the file may be cut short")]
    WrongBytes { kind: BlockType, rows: usize, cols: usize, expected: usize, got: usize },
}

/// Weights `[rows, cols]`; a row is one output feature.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    kind: BlockType,
    rows: usize,
    cols: usize,
    order: Order,
    data: &'a [u8],
}

/// Storage order of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Rows of blocks, each of this many bytes, one after another.
    Rows {
        row_bytes: usize,
    },
    Strips(InterleavedLayout),
    BitPlanes(BitPlaneLayout),
}

impl<'a> Matrix<'a> {
    /// Creates a matrix. `data` must be exactly the bytes of `rows` rows of `cols` values; it need
    /// not be aligned.
    pub fn new(kind: BlockType, rows: usize, cols: usize, data: &'a [u8]) -> Result<Matrix<'a>, ShapeError> {
        let block = kind.block_len();
        if !cols.is_multiple_of(block) {
            return Err(ShapeError::NotWholeBlocks { kind, rows, cols, block });
        }
        let too_large = ShapeError::TooLarge { kind, rows, cols };
        let Some(row_bytes) = kind.row_bytes(cols) else { return Err(too_large) };
        let Some(expected) = row_bytes.checked_mul(rows) else { return Err(too_large) };
        if data.len() != expected {
            return Err(ShapeError::WrongBytes { kind, rows, cols, expected, got: data.len() });
        }
        Ok(Matrix { kind, rows, cols, order: Order::Rows { row_bytes }, data })
    }

    /// Creates a matrix of weights that were packed with this layout.
    ///
    /// Panics if `data` has another length than [`InterleavedLayout::bytes`].
    pub fn strips(layout: &InterleavedLayout, data: &'a [u8]) -> Matrix<'a> {
        assert_eq!(data.len(), layout.bytes(), "bytes of {} strips", layout.strips());
        let (kind, rows, cols) = (layout.kind(), layout.rows(), layout.cols());
        Matrix { kind, rows, cols, order: Order::Strips(*layout), data }
    }

    /// Creates a matrix of weights that were split into planes.
    ///
    /// Panics if `data` has another length than [`BitPlaneLayout::bytes`].
    pub fn planes(layout: &BitPlaneLayout, data: &'a [u8]) -> Matrix<'a> {
        assert_eq!(data.len(), layout.bytes(), "bytes of {} strips", layout.strips());
        let (kind, rows, cols) = (layout.kind(), layout.rows(), layout.cols());
        Matrix { kind, rows, cols, order: Order::BitPlanes(*layout), data }
    }

    pub fn kind(&self) -> BlockType {
        self.kind
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns all bytes, which a matrix-vector product reads once.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the first `rows` rows as a matrix; all rows if there are no more.
    pub fn top(&self, rows: usize) -> Matrix<'a> {
        let rows = rows.min(self.rows);
        let (order, bytes) = match self.order {
            Order::Rows { row_bytes } => (self.order, rows * row_bytes),
            Order::Strips(layout) => (Order::Strips(layout.top(rows)), layout.top(rows).bytes()),
            Order::BitPlanes(layout) => (Order::BitPlanes(layout.top(rows)), layout.top(rows).bytes()),
        };
        Matrix { rows, order, data: &self.data[..bytes], ..*self }
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Unpacks the values of row `row`. Panics beyond the last row, or if `dst` does not have the
    /// length of a row.
    pub fn unpack_row(&self, row: usize, dst: &mut [f32]) {
        match self.order {
            Order::Rows { .. } => reference::unpack(self.kind, self.row(row), dst),
            Order::Strips(layout) => layout.unpack_row(self.data, row, dst),
            Order::BitPlanes(layout) => layout.unpack_row(self.data, row, dst),
        }
    }

    /// Returns the blocks of row `row`. Panics beyond the last row, and for strips.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        let row_bytes = self.row_bytes();
        &self.data[row * row_bytes..][..row_bytes]
    }

    /// Returns rows `first..first + count` as a matrix. Panics as [`Matrix::row`] does.
    pub(crate) fn slice_rows(&self, first: usize, count: usize) -> Matrix<'a> {
        let row_bytes = self.row_bytes();
        Matrix { rows: count, data: &self.data[first * row_bytes..][..count * row_bytes], ..*self }
    }

    fn row_bytes(&self) -> usize {
        match self.order {
            Order::Rows { row_bytes } => row_bytes,
            Order::Strips(_) | Order::BitPlanes(_) => panic!("a row of strips is in no one place"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        let bytes = [0u8; 68];
        assert!(Matrix::new(BlockType::Q8_0, 2, 32, &bytes).is_ok());
        let error = |kind, rows, cols| Matrix::new(kind, rows, cols, &bytes).err().unwrap();
        let kind = BlockType::Q8_0;
        assert_eq!(error(kind, 2, 33), ShapeError::NotWholeBlocks { kind, rows: 2, cols: 33, block: 32 });
        assert_eq!(error(kind, 3, 32), ShapeError::WrongBytes { kind, rows: 3, cols: 32, expected: 102, got: 68 });
        let (rows, cols) = (usize::MAX, 32);
        assert_eq!(error(kind, rows, cols), ShapeError::TooLarge { kind, rows, cols });
    }

    #[test]
    fn rows_are_where_they_should_be() {
        let bytes: Vec<u8> = (0..102).collect();
        let matrix = Matrix::new(BlockType::Q8_0, 3, 32, &bytes).unwrap();
        assert_eq!(matrix.row(1), &bytes[34..68]);
        assert_eq!(matrix.slice_rows(1, 2).row(1), &bytes[68..102]);
        assert_eq!((matrix.top(2).rows(), matrix.top(2).bytes()), (2, &bytes[..68]));
        assert_eq!((matrix.top(9).rows(), matrix.top(9).bytes()), (3, &bytes[..]));
    }
}
