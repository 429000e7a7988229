//! Tensors of a checkpoint of any format: by name, checked against the expected shapes.
//!
//! Names and conventions are GGUF's for every format, so that the model is bound in one way:
//! `blk.3.attn_q.weight`, norms that multiply as they are (1 + w where the file is zero-centred),
//! `ssm_a` = -exp(A_log), convolution taps `[channels, taps]` with the newest sample last.

use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};
use sotto_kernels::{BitPlaneLayout, BlockType, InterleavedLayout, Matrix, Pool, PrunedMatrix, STRIP, wants_strips};

use super::LlmError;
use crate::types;

/// The tensors of one checkpoint. Every method names the tensor in its error.
pub trait Tensors {
    fn has(&self, name: &str) -> bool;

    /// Binds a matrix W `[rows, cols]`.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, LlmError>;

    /// Reads a tensor of `len` values in all, as f32.
    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError>;

    /// Refuses tensors that were never requested: the model would compute something else than this
    /// engine.
    fn refuse_the_rest(&self) -> Result<(), LlmError>;

    /// Unmaps the pages of all files from this process: the data read from them were copied.
    /// Packing already frees the pages of each tensor, but the system reads ahead pages around each
    /// as well.
    fn release(&self);
}

/// A matrix of a checkpoint, its bytes checked against its shape when it was bound.
#[derive(Clone)]
pub struct Weight {
    shape: Shape,
    bytes: Bytes,
}

#[derive(Clone)]
enum Shape {
    Rows { kind: BlockType, rows: usize, cols: usize },
    Strips(InterleavedLayout),
    Planes(BitPlaneLayout),
}

/// Storage of the bytes of a matrix.
#[derive(Clone)]
enum Bytes {
    /// In a file, in the layout of the kernels: the system may drop the pages and read them again.
    Mapped(Arc<Mmap>, Range<usize>),
    /// Repacked when the model was loaded, because the file has another layout. They have pages of
    /// their own, which return to the system when the model is unloaded; an allocator would keep
    /// them.
    Owned(Arc<MmapMut>),
}

impl Weight {
    /// Creates a mapped matrix; `None` if `span` of `map` is not exactly `rows` rows of `cols`
    /// values.
    pub fn mapped(kind: BlockType, rows: usize, cols: usize, map: &Arc<Mmap>, span: Range<usize>) -> Option<Weight> {
        Matrix::new(kind, rows, cols, map.get(span.clone())?).ok()?;
        Some(Weight { shape: Shape::Rows { kind, rows, cols }, bytes: Bytes::Mapped(Arc::clone(map), span) })
    }

    /// Creates an owned matrix; `None` if `bytes` are not exactly `rows` rows of `cols` values.
    pub fn owned(kind: BlockType, rows: usize, cols: usize, bytes: MmapMut) -> Option<Weight> {
        Matrix::new(kind, rows, cols, &bytes).ok()?;
        Some(Weight { shape: Shape::Rows { kind, rows, cols }, bytes: Bytes::Owned(Arc::new(bytes)) })
    }

    /// Packs the weights in strips, if they are multiplied in that layout. The source is freed
    /// piece by piece, so that no more than one piece is held twice.
    pub fn packed(self, pool: &Pool) -> Result<Weight, LlmError> {
        let Shape::Rows { kind, rows, cols } = self.shape else { return Ok(self) };
        let layout = InterleavedLayout::new(kind, rows, cols).filter(|_| wants_strips(kind, cols));
        let Some((layout, row_bytes)) = layout.zip(kind.row_bytes(cols)) else { return Ok(self) };
        let bytes = match self.bytes {
            Bytes::Mapped(map, span) => packed_from_file(&layout, row_bytes, &map, span, pool)?,
            Bytes::Owned(bytes) => packed_from_memory(&layout, row_bytes, bytes, pool)?,
        };
        Ok(Weight { shape: Shape::Strips(layout), bytes: Bytes::Owned(Arc::new(bytes)) })
    }

    /// Splits the codes of the weights, so that the best rows of a product can be found without
    /// reading all of it, if that saves time; otherwise returns them unchanged.
    pub fn parted(self, pool: &Pool) -> (Weight, Option<PrunedMatrix>) {
        let Weight { shape: Shape::Strips(layout), bytes: Bytes::Owned(mut bytes) } = self else { return (self, None) };
        // Another holder of these bytes needs them unchanged.
        let screen = Arc::get_mut(&mut bytes).and_then(|bytes| PrunedMatrix::part(pool, &layout, bytes));
        let shape = screen.as_ref().map_or(Shape::Strips(layout), |screen| Shape::Planes(*screen.layout()));
        (Weight { shape, bytes: Bytes::Owned(bytes) }, screen)
    }

    pub fn matrix(&self) -> Matrix<'_> {
        let bytes = match &self.bytes {
            Bytes::Mapped(map, span) => &map[span.clone()],
            Bytes::Owned(bytes) => bytes,
        };
        match &self.shape {
            Shape::Strips(layout) => Matrix::strips(layout, bytes),
            Shape::Planes(layout) => Matrix::planes(layout, bytes),
            Shape::Rows { kind, rows, cols } => {
                Matrix::new(*kind, *rows, *cols, bytes).expect("the shape was checked when the weight was made")
            }
        }
    }

    /// Maps the pages of the matrix now, so that the first question does not pay for it.
    pub fn populate_pages(&self) {
        if let Bytes::Mapped(map, span) = &self.bytes {
            populate_pages(map, span);
        }
    }

    /// Whether its bytes are a copy in memory, not pages of a file.
    pub fn is_owned(&self) -> bool {
        matches!(self.bytes, Bytes::Owned(_))
    }

    /// Whether both share the same bytes (not only equal ones): a tied head.
    pub fn is(&self, other: &Weight) -> bool {
        std::ptr::eq(self.matrix().bytes(), other.matrix().bytes())
    }
}

/// Bytes that a matrix of this shape holds once it is bound for multiplication.
pub fn held_bytes(kind: BlockType, rows: usize, cols: usize) -> Option<usize> {
    match InterleavedLayout::new(kind, rows, cols).filter(|_| wants_strips(kind, cols)) {
        Some(layout) => Some(layout.bytes()),
        None => kind.row_bytes(cols)?.checked_mul(rows),
    }
}

/// Bytes that are packed before their source is freed.
const PIECE: usize = 16 << 20;

fn packed_from_file(
    layout: &InterleavedLayout,
    row_bytes: usize,
    map: &Mmap,
    span: Range<usize>,
    pool: &Pool,
) -> Result<MmapMut, LlmError> {
    let mut strips = pages_for(layout)?;
    let (strip_bytes, rows_bytes) = (layout.strip_bytes(), STRIP * row_bytes);
    let piece = (PIECE / rows_bytes).max(1);
    for (number, strips) in strips.chunks_mut(piece * strip_bytes).enumerate() {
        let start = span.start + number * piece * rows_bytes;
        let span = start..span.end.min(start + piece * rows_bytes);
        populate_pages(map, &span);
        let rows = &map[span.clone()];
        pool.for_pieces(strips, strip_bytes, |strip, dst, _| {
            let rows = &rows[strip * rows_bytes..rows.len().min((strip + 1) * rows_bytes)];
            layout.pack(number * piece + strip, rows, dst);
        });
        give_back(map, &span);
    }
    Ok(strips)
}

/// Packs in place if a strip has as many bytes as its rows.
fn packed_from_memory(
    layout: &InterleavedLayout,
    row_bytes: usize,
    bytes: Arc<MmapMut>,
    pool: &Pool,
) -> Result<MmapMut, LlmError> {
    let (strip_bytes, rows_bytes) = (layout.strip_bytes(), STRIP * row_bytes);
    let in_place = strip_bytes == rows_bytes && layout.bytes() == bytes.len();
    match Arc::try_unwrap(bytes) {
        Ok(mut bytes) if in_place => {
            pool.for_pieces(&mut bytes, strip_bytes, |strip, dst, _| {
                let rows = Vec::from(&*dst);
                layout.pack(strip, &rows, dst);
            });
            Ok(bytes)
        }
        Ok(bytes) => packed_beside(layout, rows_bytes, &bytes, pool),
        Err(shared) => packed_beside(layout, rows_bytes, &shared, pool),
    }
}

fn packed_beside(layout: &InterleavedLayout, rows_bytes: usize, rows: &[u8], pool: &Pool) -> Result<MmapMut, LlmError> {
    let mut strips = pages_for(layout)?;
    pool.for_pieces(&mut strips, layout.strip_bytes(), |strip, dst, _| {
        layout.pack(strip, &rows[strip * rows_bytes..rows.len().min((strip + 1) * rows_bytes)], dst);
    });
    Ok(strips)
}

fn pages_for(layout: &InterleavedLayout) -> Result<MmapMut, LlmError> {
    let bytes = layout.bytes();
    pages(bytes).map_err(|why| LlmError::Memory { bytes: types::Bytes(bytes as u64), why })
}

/// Allocates pages for a copy of a matrix, huge pages if the system has them.
pub fn pages(len: usize) -> std::io::Result<MmapMut> {
    let pages = MmapMut::map_anon(len)?;
    #[cfg(target_os = "linux")]
    let _only_a_hint = pages.advise(memmap2::Advice::HugePage);
    Ok(pages)
}

/// Maps the pages of a span of a file now. Only a hint: if the system does not support it, pages
/// are mapped at first access.
pub fn populate_pages(map: &Mmap, span: &Range<usize>) {
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(memmap2::Advice::PopulateRead, span.start, span.len());
    #[cfg(all(unix, not(target_os = "linux")))]
    let _ = map.advise_range(memmap2::Advice::WillNeed, span.start, span.len());
}

/// Unmaps the pages of a span from this process, so that copied data is not held twice.
pub fn give_back(map: &Mmap, span: &Range<usize>) {
    // SAFETY: the mapping is read-only and of a file, so a dropped page that is accessed again is
    // read from the file again with the same bytes; no written data can be lost. Only a hint.
    #[cfg(unix)]
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, span.start, span.len()) };
}
