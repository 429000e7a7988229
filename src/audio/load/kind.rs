//! Kind of a file, by its first bytes.

/// Reader of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// WAV file, whose chunks are read by `riff`.
    Wav,
    /// Container that `symphonia` reads.
    Container(&'static str),
    /// Kind of file without a reader here.
    Other(&'static str),
}

/// Detects the kind of a file that begins with `start`; 16 bytes are enough.
pub fn kind(start: &[u8]) -> ContainerKind {
    if crate::audio::riff::is_wav(start) {
        return ContainerKind::Wav;
    }
    match start {
        [b'I', b'D', b'3', ..] | [0xFF, 0xE2..=0xE7 | 0xEA..=0xEF | 0xF2..=0xF7 | 0xFA..=0xFF, ..] => {
            ContainerKind::Container("MP3")
        }
        [0xFF, 0xF0 | 0xF1 | 0xF8 | 0xF9, ..] => ContainerKind::Container("AAC"),
        [b'f', b'L', b'a', b'C', ..] => ContainerKind::Container("FLAC"),
        [b'O', b'g', b'g', b'S', ..] => ContainerKind::Container("Ogg"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => ContainerKind::Container("MP4"),
        [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] => {
            ContainerKind::Container("QuickTime")
        }
        [b'F', b'O', b'R', b'M', ..] => ContainerKind::Container("AIFF"),
        [b'c', b'a', b'f', b'f', ..] => ContainerKind::Container("CAF"),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => ContainerKind::Container("Matroska or WebM"),
        _ => ContainerKind::Other(other(start)),
    }
}

fn other(start: &[u8]) -> &'static str {
    match start {
        [b'R', b'I', b'F', b'F' | b'X', ..] => "a RIFF file of another kind",
        [b'r', b'i', b'f', b'f', 0x2E, 0x91, ..] => "Sony Wave64 (W64)",
        [b'.', b's', b'n', b'd', ..] => "Sun audio (AU)",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR",
        [0x30, 0x26, 0xB2, 0x75, ..] => "Windows Media (WMA)",
        [b'w', b'v', b'p', b'k', ..] => "WavPack",
        [b'T', b'T', b'A', b'1' | b'2', ..] => "True Audio (TTA)",
        [b'M', b'A', b'C', b' ', ..] => "Monkey's Audio",
        [b'M', b'T', b'h', b'd', ..] => "MIDI",
        [b'F', b'L', b'V', ..] => "Flash video",
        _ if start.iter().all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => "text",
        _ => "something that is no sound",
    }
}
