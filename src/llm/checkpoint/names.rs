//! Mapping between two sets of tensor names: GGUF's, which the engine uses, and those of
//! transformers and mlx-lm.

/// Prefixes of the names of the text model: as published, as mlx-lm writes it, and text alone. The
/// longer first, because the last is a prefix of the first.
const PREFIXES: [&str; 3] = ["model.language_model.", "language_model.model.", "model."];
/// Names of the head, which is beside the text model, not in it.
const HEADS: [&str; 3] = ["language_model.lm_head.", "model.lm_head.", "lm_head."];
/// Prefixes of the vision tower, which is not run.
const SKIPPED: [&str; 3] = ["model.visual.", "visual.", "vision_tower."];
/// Prefixes of the names of the draft block.
const DRAFTING_PREFIXES: [&str; 4] = ["", "model.", "language_model.", "model.language_model."];
/// Beginning of the names of the draft block, after their prefix.
const DRAFTING: &str = "mtp.";
/// Layer of the draft block.
pub const DRAFTING_LAYER: &str = "mtp.layers.0.";
/// Separate token matrices of the draft block, which no published Qwen3.5 has.
const DRAFTING_OWN: [&str; 3] = ["mtp.embed_tokens.weight", "mtp.lm_head.weight", "mtp.shared_head.head.weight"];
pub const EMBEDDING: &str = "embed_tokens.weight";
pub const HEAD: &str = "lm_head.weight";
pub const CONVOLUTION: &str = "linear_attn.conv1d.weight";

/// Kind of a tensor, which determines the conversion of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// Matrix W [rows, cols]; may be quantised.
    Matrix,
    /// Norm, zero-centred in raw files: multiplies by 1 + w there, by w in converted files.
    Norm,
    /// Norm that multiplies by w in every file.
    GatedNorm,
    /// A_log; returned as -exp(A_log).
    Decay,
    /// Convolution, [channels, 1, taps] in raw files, [channels, taps, 1] in converted ones.
    Convolution,
    /// Bias added to the input of the decay.
    Bias,
}

/// Names within a layer: GGUF's and transformers'.
const LAYER: [(&str, &str, TensorKind); 20] = [
    ("attn_norm.weight", "input_layernorm.weight", TensorKind::Norm),
    ("post_attention_norm.weight", "post_attention_layernorm.weight", TensorKind::Norm),
    ("ffn_gate.weight", "mlp.gate_proj.weight", TensorKind::Matrix),
    ("ffn_up.weight", "mlp.up_proj.weight", TensorKind::Matrix),
    ("ffn_down.weight", "mlp.down_proj.weight", TensorKind::Matrix),
    ("attn_qkv.weight", "linear_attn.in_proj_qkv.weight", TensorKind::Matrix),
    ("attn_gate.weight", "linear_attn.in_proj_z.weight", TensorKind::Matrix),
    ("ssm_alpha.weight", "linear_attn.in_proj_a.weight", TensorKind::Matrix),
    ("ssm_beta.weight", "linear_attn.in_proj_b.weight", TensorKind::Matrix),
    ("ssm_a", "linear_attn.A_log", TensorKind::Decay),
    ("ssm_dt.bias", "linear_attn.dt_bias", TensorKind::Bias),
    ("ssm_conv1d.weight", CONVOLUTION, TensorKind::Convolution),
    ("ssm_norm.weight", "linear_attn.norm.weight", TensorKind::GatedNorm),
    ("ssm_out.weight", "linear_attn.out_proj.weight", TensorKind::Matrix),
    ("attn_q.weight", "self_attn.q_proj.weight", TensorKind::Matrix),
    ("attn_k.weight", "self_attn.k_proj.weight", TensorKind::Matrix),
    ("attn_v.weight", "self_attn.v_proj.weight", TensorKind::Matrix),
    ("attn_output.weight", "self_attn.o_proj.weight", TensorKind::Matrix),
    ("attn_q_norm.weight", "self_attn.q_norm.weight", TensorKind::Norm),
    ("attn_k_norm.weight", "self_attn.k_norm.weight", TensorKind::Norm),
];
const WHOLE: [(&str, &str, TensorKind); 3] = [
    ("token_embd.weight", EMBEDDING, TensorKind::Matrix),
    ("output_norm.weight", "norm.weight", TensorKind::Norm),
    ("output.weight", HEAD, TensorKind::Matrix),
];

/// Tensors of the draft block outside its layer.
const DRAFT: [(&str, &str, TensorKind); 4] = [
    ("nextn.eh_proj.weight", JOIN, TensorKind::Matrix),
    ("nextn.enorm.weight", TOKEN_NORM, TensorKind::Norm),
    ("nextn.hnorm.weight", HIDDEN_NORM, TensorKind::Norm),
    ("nextn.shared_head_norm.weight", DRAFT_NORM, TensorKind::Norm),
];
/// Name of the matrix that identifies the draft block.
pub const JOIN: &str = "mtp.fc.weight";
pub const TOKEN_NORM: &str = "mtp.pre_fc_norm_embedding.weight";
pub const HIDDEN_NORM: &str = "mtp.pre_fc_norm_hidden.weight";
pub const DRAFT_NORM: &str = "mtp.norm.weight";
/// Norms of its layer: together they show whether norms of the block are zero-centred.
pub const DRAFT_NORMS: [&str; 4] = [
    "mtp.layers.0.input_layernorm.weight",
    "mtp.layers.0.post_attention_layernorm.weight",
    "mtp.layers.0.self_attn.q_norm.weight",
    "mtp.layers.0.self_attn.k_norm.weight",
];

/// Returns the name below the prefix, and the kind, of GGUF's `name` in a model of this many layers
/// followed by the draft block.
pub fn from_gguf_of(layers: usize, name: &str) -> Option<(String, TensorKind)> {
    let (own, kind) = from_gguf(name)?;
    match own.strip_prefix(&format!("layers.{layers}.")) {
        Some(part) => Some((format!("{DRAFTING_LAYER}{part}"), kind)),
        None => Some((own, kind)),
    }
}

/// Returns the name below the prefix, and the kind, of GGUF's `name`.
pub fn from_gguf(name: &str) -> Option<(String, TensorKind)> {
    if let Some((_, own, kind)) = WHOLE.iter().find(|(gguf, ..)| *gguf == name) {
        return Some(((*own).to_owned(), *kind));
    }
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    if let Some((_, own, kind)) = DRAFT.iter().find(|(gguf, ..)| *gguf == part) {
        return Some(((*own).to_owned(), *kind));
    }
    let (_, own, kind) = LAYER.iter().find(|(gguf, ..)| *gguf == part)?;
    Some((format!("layers.{layer}.{own}"), *kind))
}

/// Returns the kind of the tensor called `name` below the prefix, or in the draft block; `None` for
/// one that no Qwen3.5 has.
pub fn kind(name: &str) -> Option<TensorKind> {
    let table = match in_layer(name) {
        Some(part) => return LAYER.iter().find(|(_, own, _)| *own == part).map(|(.., kind)| *kind),
        None => WHOLE.iter().chain(&DRAFT),
    };
    table.into_iter().find(|(_, own, _)| *own == name).map(|(.., kind)| *kind)
}

/// Name within its layer of the tensor called `name`, in the model or in the draft block.
pub fn in_layer(name: &str) -> Option<&str> {
    let of_model = || name.strip_prefix("layers.").and_then(|rest| rest.split_once('.')).map(|(_, part)| part);
    name.strip_prefix(DRAFTING_LAYER).or_else(of_model)
}

/// GGUF's name of the tensor called `name` below the prefix.
pub fn to_gguf(name: &str) -> Option<String> {
    if let Some((layer, part)) = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        return LAYER.iter().find(|(_, own, _)| *own == part).map(|(gguf, ..)| format!("blk.{layer}.{gguf}"));
    }
    WHOLE.iter().find(|(_, own, _)| *own == name).map(|(gguf, ..)| (*gguf).to_owned())
}

/// Name of a tensor or module without the prefix of the text model.
pub fn below_prefix(name: &str) -> &str {
    if let Some(head) = HEADS.iter().find(|head| name.starts_with(**head) || name == head.trim_end_matches('.')) {
        return &name[head.len() - "lm_head.".len()..];
    }
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// Module of the tensor called `name`.
pub fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

/// Name of a tensor of the draft block without its prefix; `None` for other tensors.
pub fn drafting(name: &str) -> Option<&str> {
    let mut below = DRAFTING_PREFIXES.iter().filter_map(|prefix| name.strip_prefix(prefix));
    below.find(|own| own.starts_with(DRAFTING))
}

/// Whether tensors of these names are a draft block that this engine runs: with the embedding and
/// the head of the model.
pub fn can_draft(has: impl Fn(&str) -> bool) -> bool {
    has(JOIN) && !DRAFTING_OWN.into_iter().any(has)
}

/// Whether the tensor belongs to a part of the model that is not run.
pub fn is_skipped(name: &str) -> bool {
    SKIPPED.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_the_same_tensor() {
        for prefix in PREFIXES {
            assert_eq!(below_prefix(&format!("{prefix}layers.3.mlp.up_proj")), "layers.3.mlp.up_proj");
        }
        for head in ["lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"] {
            assert_eq!(below_prefix(head), HEAD);
        }
        assert_eq!(below_prefix("language_model.lm_head"), "lm_head");
        assert_eq!(below_prefix("strange.weight"), "strange.weight");
    }

    #[test]
    fn gguf_names_lead_to_ours_and_back() {
        for (gguf, own, kind) in LAYER {
            let (name, found) = from_gguf(&format!("blk.17.{gguf}")).unwrap();
            assert_eq!((name.as_str(), found), (format!("layers.17.{own}").as_str(), kind));
            assert_eq!(super::kind(&name), Some(kind));
            assert_eq!(to_gguf(&name), Some(format!("blk.17.{gguf}")));
        }
        assert_eq!(from_gguf("token_embd.weight"), Some((EMBEDDING.to_owned(), TensorKind::Matrix)));
        assert_eq!(super::kind("norm.weight"), Some(TensorKind::Norm));
        for unknown in ["blk.0.attn_q.bias", "blk.0", "rope_freqs.weight"] {
            assert_eq!(from_gguf(unknown), None, "{unknown}");
        }
        for unknown in ["layers.0.self_attn.q_proj.bias", "rotary_emb.inv_freq", "layers.0"] {
            assert_eq!(super::kind(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn other_towers_are_known() {
        for name in ["model.visual.patch_embed.proj.weight", "vision_tower.x"] {
            assert!(is_skipped(name), "{name}");
        }
        assert!(!is_skipped("model.language_model.norm.weight"));
    }

    #[test]
    fn the_block_that_drafts_is_known_under_every_prefix_and_by_the_number_after_the_last_layer() {
        for prefix in DRAFTING_PREFIXES {
            assert_eq!(drafting(&format!("{prefix}mtp.fc.weight")), Some(JOIN));
        }
        assert_eq!((drafting("model.language_model.norm.weight"), drafting("model.layers.0.mtp.x")), (None, None));
        let own = |name| from_gguf_of(24, name).map(|(own, _)| own);
        for (gguf, wanted) in [
            ("blk.24.nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight"),
            ("blk.24.attn_q.weight", "mtp.layers.0.self_attn.q_proj.weight"),
            ("blk.23.attn_q.weight", "layers.23.self_attn.q_proj.weight"),
            ("blk.2.attn_q.weight", "layers.2.self_attn.q_proj.weight"),
        ] {
            assert_eq!(own(gguf).as_deref(), Some(wanted));
        }
        assert!(can_draft(|name| name == JOIN));
        assert!(!can_draft(|_| false) && !can_draft(|_| true));
    }
}
