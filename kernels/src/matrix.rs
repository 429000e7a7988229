//! A matrix of weights where it lies, usually in a mapped file.

use crate::block::BlockType;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    #[error("a {kind} matrix of {rows} x {cols}: {cols} columns are not a whole number of blocks of {block}")]
    NotWholeBlocks { kind: BlockType, rows: usize, cols: usize, block: usize },
    #[error("a {kind} matrix of {rows} x {cols}: its size does not fit this machine's addresses")]
    TooLarge { kind: BlockType, rows: usize, cols: usize },
    #[error("a {kind} matrix of {rows} x {cols} has {expected} bytes, but {got} were given; the file may be cut short")]
    WrongBytes { kind: BlockType, rows: usize, cols: usize, expected: usize, got: usize },
}

/// Weights `[rows, cols]`, row after row, each row a sequence of blocks; a row is one output feature.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    kind: BlockType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// `data` must be exactly the bytes of `rows` rows of `cols` values; it need not be aligned.
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
        Ok(Matrix { kind, rows, cols, row_bytes, data })
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

    /// All bytes, as they are read once per matrix-vector product.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The blocks of row `row`. Panics beyond the last row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.data[row * self.row_bytes..][..self.row_bytes]
    }

    /// Rows `first..first + count` as a matrix of their own. Panics beyond the last row.
    pub(crate) fn slice_rows(&self, first: usize, count: usize) -> Matrix<'a> {
        let data = &self.data[first * self.row_bytes..][..count * self.row_bytes];
        Matrix { rows: count, data, ..*self }
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
    }
}
