//! Tests that a good file is read back, and one hostile file per kind of attack is refused with the
//! right message.

use super::testing::{ARRAY, Builder, F32, TEXT, U32, array, head, string};
use super::*;

fn good() -> Builder {
    Builder::default()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .f32("llama.eps", 0.5)
        .texts("tokens", &["a", "bc", ""])
        .i32s("types", &[1, -3])
        .tensor("w", &[4, 2], &[1.0; 8])
        .tensor("b", &[3], &[2.0; 3])
}

fn open(bytes: &[u8]) -> Result<Gguf, LlmError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Gguf::open(file.path())
}

#[test]
fn a_good_file_is_read_back() {
    let gguf = open(&good().build()).unwrap();
    assert_eq!(gguf.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(gguf.number("llama.block_count").unwrap(), Some(2));
    assert_eq!(gguf.float("llama.eps").unwrap(), Some(0.5));
    assert_eq!(gguf.texts("tokens").unwrap().unwrap(), ["a", "bc", ""]);
    assert_eq!(gguf.numbers("types").unwrap().unwrap(), [1, -3]);
    assert_eq!(gguf.number("absent").unwrap(), None);
    let w = gguf.tensor("w").unwrap();
    assert_eq!((w.dims.as_slice(), w.span.len()), ([4, 2].as_slice(), 32));
    assert_eq!(&gguf.bytes(gguf.tensor("b").unwrap())[..4], 2f32.to_le_bytes());
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let gguf = open(&good().build()).unwrap();
    for wrong in [gguf.number("tokens").err(), gguf.text("llama.eps").err(), gguf.numbers("tokens").err()] {
        let message = wrong.unwrap().to_string();
        assert!(message.contains("is not") && message.contains("sotto models verify"), "{message}");
    }
}

#[test]
fn every_cut_of_a_good_file_is_refused() {
    let file = good().build();
    for len in 0..file.len() {
        assert!(Header::parse(&file[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn hostile_headers_are_refused() {
    let huge = 1u64 << 63;
    let list = |kind: u32, count: u64| good().raw("list", ARRAY, &array(kind, count)).build();
    let entry = |dims: &[u64], kind: u32, offset: u64| Builder::default().tensor_entry("t", dims, kind, offset).build();
    let aligned = |n: u32| Builder::default().u32("general.alignment", n).build();
    let swapped = [b"GGUF".as_slice(), &3u32.to_be_bytes(), &[0; 16]].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("an empty file", vec![], "ends inside magic"),
        ("another format", b"PK\x03\x04 and so on, a zip file".to_vec(), "not a GGUF file"),
        ("the first version", head(1, 0, 0), "version 1"),
        ("big-endian", swapped, "big-endian"),
        ("2^63 metadata entries", good().build_claiming(0, huge), "metadata count is 9223372036854775808"),
        ("2^63 tensors", good().build_claiming(huge, 0), "tensor count is 9223372036854775808"),
        ("an array of 2^63 in 43 bytes", array_bomb(huge), "array length is 9223372036854775808"),
        ("an array longer than the file", list(U32, 1 << 20), "ends inside array"),
        ("strings longer than the file", list(TEXT, 1 << 20), "ends inside array"),
        ("an array in an array", list(ARRAY, 1), "array of arrays"),
        ("a string longer than the file", long_string(1 << 19), "ends inside string"),
        ("a string of 2^63", long_string(huge), "string length is 9223372036854775808"),
        ("a key longer than the file", long_key(200), "ends inside metadata key"),
        ("a key of 2^63", long_key(huge), "metadata key is 9223372036854775808"),
        ("a key that is not UTF-8", bad_key(), "not UTF-8"),
        ("an unknown value type", good().raw("odd", 99, &[]).build(), "unknown value type 99"),
        ("a key twice", good().u32("llama.block_count", 3).build(), "appears twice"),
        ("a tensor twice", good().tensor("w", &[1], &[0.0]).build(), "appears twice"),
        ("alignment 2^30", aligned(1 << 30), "alignment is 1073741824"),
        ("alignment 0", aligned(0), "alignment is 0"),
        ("alignment 24", aligned(24), "alignment is 24"),
        ("no dimensions", entry(&[], F32, 0), "0 dimensions"),
        ("five dimensions", entry(&[1; 5], F32, 0), "5 dimensions"),
        ("an empty dimension", entry(&[0, 4], F32, 0), "impossible shape"),
        ("a product past 2^64", entry(&[1 << 32, 1 << 33], F32, 0), "impossible shape"),
        ("bytes past 2^64", entry(&[1 << 62, 1], F32, 0), "impossible shape"),
        ("a row that is no whole block", entry(&[33, 1], 8, 0), "impossible shape"),
        ("an unknown tensor type", entry(&[32], 9999, 0), "type 9999"),
        ("data past the end", entry(&[1 << 20], F32, 0), "past the end"),
        ("an offset past 2^64", entry(&[1], F32, u64::MAX - 31), "past the end"),
        ("an offset off the grid", shifted(4), "not aligned"),
        ("tensors on each other", shifted(0), "overlaps"),
    ];
    for (attack, file, words) in cases {
        let message = Header::parse(&file).expect_err(attack).to_string();
        assert!(message.contains(words), "{attack}: {message}");
    }
}

fn array_bomb(count: u64) -> Vec<u8> {
    let mut file = head(3, 0, 1);
    file.extend(string("a.b"));
    file.extend(ARRAY.to_le_bytes());
    file.extend(array(U32, count));
    assert!(file.len() <= 64);
    file
}

fn long_string(len: u64) -> Vec<u8> {
    Builder::default().raw("s", TEXT, &[&len.to_le_bytes()[..], b"short"].concat()).build()
}

fn long_key(len: u64) -> Vec<u8> {
    [head(3, 0, 1), len.to_le_bytes().to_vec(), b"short".to_vec()].concat()
}

fn bad_key() -> Vec<u8> {
    [head(3, 0, 1), 2u64.to_le_bytes().to_vec(), vec![0xff, 0xfe], vec![0; 40]].concat()
}

/// Two tensors of 8 values, the second at `offset` into the first.
fn shifted(offset: u64) -> Vec<u8> {
    Builder::default().tensor("a", &[16], &[0.0; 16]).tensor_entry("b", &[8], F32, offset).build()
}

#[test]
fn what_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.gguf"), b"").unwrap();
    for path in [dir.path().to_owned(), dir.path().join("absent.gguf"), dir.path().join("empty.gguf")] {
        let message = Gguf::open(&path).err().unwrap().to_string();
        assert!(message.contains(&*path.to_string_lossy()) && message.contains("sotto models"), "{message}");
    }
}

proptest::proptest! {
    /// For any changed byte, the reader returns a result and never panics.
    #[test]
    fn no_byte_can_break_the_reader(at in 0usize..1000, byte in 0u8..=255) {
        let mut file = good().build();
        let at = at % file.len();
        file[at] = byte;
        let _ = Header::parse(&file);
    }
}
