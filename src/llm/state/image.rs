//! Serialisation of a state.
//!
//! ```text
//! "sotto-st"  version u32  kind u32  stamp [32]  positions u64  border u64  checkpoints u64
//! tokens [positions] u32   alone [positions] u8
//! memory of each layer     checkpoints            SHA-256 of all before it
//! ```
//! Numbers in the header are little-endian, memories are in the machine's byte order ([`Stamp`]
//! covers the machine). No size is read from the file: with the model configuration, the positions,
//! border and number of checkpoints determine all of them.

use std::borrow::Borrow;
use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};
use sotto_kernels::CHUNK;

use super::checkpoints::{MOST, StateCheckpoint};
use super::{CALLS, KvCacheType, LayerState, Ordering, SequenceState, Stamp, StateOrigin, border};
use crate::llm::model_config::ModelConfig;

const MAGIC: [u8; 8] = *b"sotto-st";
const VERSION: u32 = 2;
/// Bytes of the header, before the tokens.
const HEAD: usize = 8 + 2 * 4 + Stamp::LEN + 3 * 8;
const DIGEST: usize = 32;

/// Checkpoints that are written with a state: without them it continues in the same way, but
/// rolling back far takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRange {
    None,
    /// Ends of turns ([`SequenceState::mark_turn`]).
    Turns,
    All,
}

/// Reason why stored bytes are not a usable state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("a stored state cannot be read: {0}; compute its tokens again")]
    Read(#[from] io::Error),
    #[error("these are not the bytes of a state of version {VERSION}; compute its tokens again")]
    NotAState,
    #[error("the stored state was computed by another model, program or machine; compute its tokens again")]
    Foreign,
    #[error("the stored state keeps {found:?} and {wanted:?} is wanted; compute its tokens again")]
    Kind { found: KvCacheType, wanted: KvCacheType },
    #[error(
        "the stored state has {len} positions, but the context is {context}; raise [llm] context (ChatSettings::context)"
    )]
    TooLong { len: u64, context: usize },
    #[error("the stored state is damaged: {what}; compute its tokens again")]
    Damaged { what: &'static str },
}

/// Header of a stored state.
struct Head<'a> {
    stamp: Stamp,
    kind: KvCacheType,
    border: usize,
    checkpoints: usize,
    tokens: &'a [u32],
    origins: &'a [StateOrigin],
}

impl SequenceState {
    /// Bytes that [`SequenceState::write_to`] writes.
    pub fn written_bytes(&self, waypoints: CheckpointRange) -> usize {
        self.body_bytes(waypoints) + DIGEST
    }

    /// Writes everything that the continuation depends on, and nothing that was rolled back.
    pub fn write_to(&self, stamp: &Stamp, waypoints: CheckpointRange, to: impl Write) -> io::Result<()> {
        let mut to = Hashing { inner: io::BufWriter::new(to), hasher: Sha256::new() };
        let checkpoints: Vec<&StateCheckpoint> = self.checkpoints.iter().filter(|c| waypoints.include(c)).collect();
        let head = self.head(stamp, checkpoints.len());
        head.write_to(&mut to)?;
        write_memories(head.tokens.len(), &self.layers, checkpoints, &mut to)?;
        to.inner.write_all(&to.hasher.finalize())?;
        to.inner.flush()
    }

    /// Reads a state that [`SequenceState::write_to`] wrote with the same stamp; `from` must end
    /// with it. Allocates at most [`SequenceState::planned_bytes_with`] of `context`, for any input
    /// bytes.
    pub fn read_from(
        stamp: &Stamp,
        model_config: &ModelConfig,
        context: usize,
        kind: KvCacheType,
        from: impl Read,
    ) -> Result<SequenceState, StateError> {
        let mut from = Hashing { inner: io::BufReader::new(from), hasher: Sha256::new() };
        let state =
            SequenceState::read_body(stamp, model_config, context, kind, &mut from).map_err(StateError::or_short)?;
        let (mut written, mut beyond) = ([0; DIGEST], [0]);
        from.inner.read_exact(&mut written).map_err(|error| StateError::from(error).or_short())?;
        if from.hasher.finalize().as_slice() != written {
            return Err(StateError::Damaged { what: "its checksum is another" });
        }
        match from.inner.read(&mut beyond)? {
            0 => Ok(state),
            _ => Err(StateError::Damaged { what: "more bytes follow" }),
        }
    }

    pub(super) fn body_bytes(&self, waypoints: CheckpointRange) -> usize {
        let checkpoints = self.checkpoints.iter().filter(|c| waypoints.include(c)).map(StateCheckpoint::written_bytes);
        let layers = self.layers.iter().map(|layer| layer.written_bytes(self.len()));
        HEAD + self.len() * (size_of::<u32>() + 1) + layers.chain(checkpoints).sum::<usize>()
    }

    /// Writes everything except the checksum, and frees each memory once it is written.
    pub(super) fn pour_into(
        mut self,
        stamp: &Stamp,
        waypoints: CheckpointRange,
        to: &mut impl Write,
    ) -> io::Result<()> {
        let checkpoints = std::mem::take(&mut self.checkpoints).into_kept();
        let checkpoints: Vec<StateCheckpoint> = checkpoints.into_iter().filter(|c| waypoints.include(c)).collect();
        self.head(stamp, checkpoints.len()).write_to(to)?;
        write_memories(self.tokens.len(), self.layers, checkpoints, to)
    }

    fn head(&self, stamp: &Stamp, checkpoints: usize) -> Head<'_> {
        Head {
            stamp: *stamp,
            kind: self.kind,
            border: border(&self.layers).unwrap_or(0),
            checkpoints,
            tokens: &self.tokens,
            origins: &self.origins,
        }
    }

    /// Reads everything except the checksum.
    pub(super) fn read_body(
        stamp: &Stamp,
        model_config: &ModelConfig,
        context: usize,
        kind: KvCacheType,
        from: &mut impl Read,
    ) -> Result<SequenceState, StateError> {
        let peek = Peek::read_from(from)?;
        peek.check(stamp, model_config, context, kind)?;
        let mut state = SequenceState::with_cache(model_config, context, kind);
        state.read_positions(&peek, from)?;
        for layer in &mut state.layers {
            layer.read_from(peek.border, peek.len, from)?;
        }
        for _ in 0..peek.checkpoints {
            let mut checkpoint = state.checkpoints.blank(0, &state.layers);
            checkpoint.read_from(from)?;
            let last = state.checkpoints.iter().last().map_or(0, |last| last.position);
            let sound = checkpoint.position > last && checkpoint.position <= peek.len;
            if !sound || !checkpoint.position.is_multiple_of(CHUNK) {
                return Err(StateError::Damaged { what: "a checkpoint stands where none can" });
            }
            state.checkpoints.keep(checkpoint);
        }
        Ok(state)
    }

    /// Reads tokens and the way they were computed.
    fn read_positions(&mut self, peek: &Peek, from: &mut impl Read) -> Result<(), StateError> {
        peek.read_tokens(from, &mut self.tokens)?;
        if self.tokens.iter().any(|&token| token as usize >= self.model_config.vocabulary) {
            return Err(StateError::Damaged { what: "a token is not of the vocabulary" });
        }
        let mut alone = vec![0u8; peek.len];
        from.read_exact(&mut alone)?;
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        self.origins.extend(alone.iter().map(|&alone| StateOrigin { call, alone: alone != 0 }));
        Ok(())
    }
}

fn write_memories<M: Borrow<LayerState>, C: Borrow<StateCheckpoint>>(
    len: usize,
    layers: impl IntoIterator<Item = M>,
    checkpoints: impl IntoIterator<Item = C>,
    to: &mut impl Write,
) -> io::Result<()> {
    layers.into_iter().try_for_each(|layer| layer.borrow().write_to(len, to))?;
    checkpoints.into_iter().try_for_each(|checkpoint| checkpoint.borrow().write_to(to))
}

impl CheckpointRange {
    fn include(self, checkpoint: &StateCheckpoint) -> bool {
        match self {
            CheckpointRange::None => false,
            CheckpointRange::Turns => checkpoint.is_turn(),
            CheckpointRange::All => true,
        }
    }
}

impl Head<'_> {
    fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        to.write_all(&self.kind.code().to_le_bytes())?;
        to.write_all(self.stamp.bytes())?;
        let words = [self.tokens.len(), self.border, self.checkpoints];
        words.iter().try_for_each(|&word| to.write_all(&(word as u64).to_le_bytes()))?;
        self.tokens.iter().try_for_each(|token| to.write_all(&token.to_le_bytes()))?;
        let alone: Vec<u8> = self.origins.iter().map(|origin| u8::from(origin.alone)).collect();
        to.write_all(&alone)
    }
}

/// Header of stored bytes: enough to decide whether to read the rest.
pub(in crate::llm) struct Peek {
    stamp: [u8; Stamp::LEN],
    kind: Option<KvCacheType>,
    len: usize,
    border: usize,
    checkpoints: usize,
}

impl Peek {
    /// Limit of positions before the context is known: the longest that `[llm] context` allows.
    const LONGEST: u64 = 1 << 18;

    pub fn read_from(from: &mut impl Read) -> Result<Peek, StateError> {
        let mut bytes = [0; HEAD];
        from.read_exact(&mut bytes)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[..8] != MAGIC || word(8) != VERSION {
            return Err(StateError::NotAState);
        }
        let mut stamp = [0; Stamp::LEN];
        stamp.copy_from_slice(&bytes[16..16 + Stamp::LEN]);
        let [len, border, checkpoints] = [0, 8, 16].map(|at| long(16 + Stamp::LEN + at));
        if len > Peek::LONGEST || border > len || checkpoints > MOST as u64 {
            return Err(StateError::Damaged { what: "its header is impossible" });
        }
        Ok(Peek {
            stamp,
            kind: KvCacheType::of_code(word(12)),
            len: len as usize,
            border: border as usize,
            checkpoints: checkpoints as usize,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_of(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp.bytes()
    }

    /// Appends the tokens, which follow the header, to `to`.
    pub fn read_tokens(&self, from: &mut impl Read, to: &mut Vec<u32>) -> Result<(), StateError> {
        let mut bytes = vec![0; self.len * size_of::<u32>()];
        from.read_exact(&mut bytes)?;
        to.extend(bytes.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token)));
        Ok(())
    }

    fn check(
        &self,
        stamp: &Stamp,
        model_config: &ModelConfig,
        context: usize,
        wanted: KvCacheType,
    ) -> Result<(), StateError> {
        let Some(found) = self.kind else { return Err(StateError::NotAState) };
        if !self.is_of(stamp) {
            return Err(StateError::Foreign);
        }
        if found != wanted {
            return Err(StateError::Kind { found, wanted });
        }
        if self.len > context {
            return Err(StateError::TooLong { len: self.len as u64, context });
        }
        let hybrid = model_config.delta.is_some();
        let bordered = self.border.is_multiple_of(CHUNK) && self.len - self.border <= CHUNK;
        match if hybrid { bordered } else { self.border == 0 && self.checkpoints == 0 } {
            true => Ok(()),
            false => Err(StateError::Damaged { what: "its borders are not those of the model" }),
        }
    }
}

impl KvCacheType {
    const ALL: [KvCacheType; 3] = [KvCacheType::F16, KvCacheType::F32, KvCacheType::Q8];

    fn code(self) -> u32 {
        match self {
            KvCacheType::F16 => 1,
            KvCacheType::F32 => 2,
            KvCacheType::Q8 => 3,
        }
    }

    fn of_code(code: u32) -> Option<KvCacheType> {
        KvCacheType::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl StateError {
    /// Turns an early end of the input into damage; it is not a read error.
    pub(in crate::llm) fn or_short(self) -> StateError {
        match self {
            StateError::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                StateError::Damaged { what: "it ends early" }
            }
            other => other,
        }
    }
}

/// Forwards bytes and adds them to a checksum.
struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
