//! Tensor types of GGUF files that this engine does not read, by their numbers in `enum ggml_type`.

use sotto_kernels::BlockType;

/// Types that llama.cpp and its tools write or have written, beyond those of [`BlockType::GGML`].
const UNREAD: [(u32, &str); 30] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

/// Name of an unsupported type, such as "IQ4_XS"; its number if it is unknown.
pub fn name(code: u32) -> String {
    let known = UNREAD.iter().find(|(number, _)| *number == code);
    known.map_or_else(|| format!("number {code}"), |(_, name)| (*name).to_owned())
}

/// Names of the supported types.
pub fn read() -> String {
    BlockType::GGML.map(BlockType::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_either_read_or_named_as_unread() {
        for code in 0..43 {
            assert_ne!(
                BlockType::from_ggml(code).is_some(),
                UNREAD.iter().any(|(number, _)| *number == code),
                "{code}"
            );
        }
        assert_eq!((name(23).as_str(), name(9999).as_str()), ("IQ4_XS", "number 9999"));
        assert!(read().contains("Q3_K, Q4_K"));
    }
}
