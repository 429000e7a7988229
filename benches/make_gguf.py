#!/usr/bin/env python3
"""Writes a GGUF file of Qwen3.5-0.8B's true shape with random weights: all 24 layers and 248,320 rows of the vocabulary.

Speed does not depend on the values, so where the real weights cannot be had this is what is measured on. The tokenizer
has the true size and the true places of the control tokens, but only single bytes as words: what such a model says is
nonsense. The same seed gives the same file.

    benches/make_gguf.py {Q4_0|Q8_0|BF16} OUT.gguf

Needs the PyPI packages gguf and numpy; they are put into an environment of their own in the cache folder, by the
machine's own pip, when they are not there.
"""

import os
import pathlib
import subprocess
import sys
import venv

NEEDS = ["gguf==0.19.0", "numpy<3"]

ARCHITECTURE = "qwen35"
WIDTH, HIDDEN, LAYERS, VOCABULARY, CONTEXT = 1024, 3584, 24, 248_320, 32_768
# Every fourth layer attends: 8 heads of 256 over 2 of keys and values, a quarter of each rotated.
INTERVAL, HEADS, KV_HEADS, HEAD, ROTATED = 4, 8, 2, 256, 64
# The others are DeltaNet: 16 heads of 128 for keys and values alike.
DELTA_HEADS, DELTA_DIM, TAPS = 16, 128, 4
CONTROL = {248_044: "<|endoftext|>", 248_045: "<|im_start|>", 248_046: "<|im_end|>"}
MARKUP = {248_058: "<tool_call>", 248_059: "</tool_call>", 248_068: "<think>", 248_069: "</think>"}
NORMAL, CONTROL_TYPE, USER_DEFINED = 1, 3, 4
# Rows that are drawn and quantised; a larger matrix goes on with the same blocks in other orders, which saves most of
# the time. No two rows are the same: where rows tie, looking for the best of them is another task.
ROWS = 4096


def in_own_environment():
    """Starts again in an environment that has the packages."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(cache) / "sotto" / "peer" / "python"
    python = folder / "bin" / "python"
    if pathlib.Path(sys.prefix) == folder:
        raise SystemExit(f"make_gguf: {folder} lacks {' or '.join(NEEDS)}; remove the folder, then start again")
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDS], check=True)
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


try:
    import gguf
    import numpy
except ImportError:
    in_own_environment()


def byte_alphabet():
    """The printable characters that stand for the 256 bytes in GPT-2's vocabulary."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]


def write_metadata(writer):
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(ROTATED)
    writer.add_rope_dimension_sections([11, 11, 10, 0])
    writer.add_rope_freq_base(1e7)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_ssm_conv_kernel(TAPS)
    writer.add_ssm_state_size(DELTA_DIM)
    writer.add_ssm_group_count(DELTA_HEADS)
    writer.add_ssm_time_step_rank(DELTA_HEADS)
    writer.add_ssm_inner_size(DELTA_HEADS * DELTA_DIM)
    writer.add_uint32(f"{ARCHITECTURE}.full_attention_interval", INTERVAL)


def write_tokenizer(writer):
    words = [*byte_alphabet(), "th"]
    words += [f"t{n}" for n in range(VOCABULARY - len(words))]
    types = [NORMAL] * VOCABULARY
    for special, kind in [(CONTROL, CONTROL_TYPE), (MARKUP, USER_DEFINED)]:
        for token, word in special.items():
            words[token], types[token] = word, kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(ARCHITECTURE)
    writer.add_token_list(words)
    writer.add_token_types(types)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(248_046)
    writer.add_pad_token_id(248_044)


class Tensors:
    """Random tensors of one format, added to a file."""

    def __init__(self, writer, kind):
        self.writer, self.kind, self.random = writer, kind, numpy.random.default_rng(0)

    def matrix(self, name, rows, cols, deviation=None):
        some = self.random.standard_normal((min(rows, ROWS), cols), dtype=numpy.float32)
        some = gguf.quantize(some * numpy.float32(deviation or cols**-0.5), self.kind)
        whole = [some]
        while len(whole) * len(some) < rows:
            whole.append(self.in_other_order(some))
        self.writer.add_tensor(f"{name}.weight", numpy.concatenate(whole)[:rows], raw_dtype=self.kind)

    def in_other_order(self, rows):
        """The same blocks of every row, in an order of their own."""
        _, bytes_of_block = gguf.GGML_QUANT_SIZES[self.kind]
        blocks = rows.view(numpy.uint8).reshape(len(rows), -1, bytes_of_block)
        order = self.random.permutation(blocks.shape[1])
        return numpy.ascontiguousarray(blocks[:, order]).reshape(len(rows), -1).view(rows.dtype)

    def vector(self, name, *shape, value=1.0):
        self.writer.add_tensor(name, numpy.full(shape, value, dtype=numpy.float32))

    def convolution(self, name, channels):
        taps = 0.5 * self.random.standard_normal((channels, TAPS), dtype=numpy.float32)
        self.writer.add_tensor(name, taps)


def write_layer(tensors, layer):
    name = f"blk.{layer}."
    tensors.vector(name + "attn_norm.weight", WIDTH)
    tensors.vector(name + "post_attention_norm.weight", WIDTH)
    tensors.matrix(name + "ffn_gate", HIDDEN, WIDTH)
    tensors.matrix(name + "ffn_up", HIDDEN, WIDTH)
    tensors.matrix(name + "ffn_down", WIDTH, HIDDEN)
    if (layer + 1) % INTERVAL == 0:
        write_attention(tensors, name)
    else:
        write_delta(tensors, name)


def write_attention(tensors, name):
    # Of each head the query and its gate.
    tensors.matrix(name + "attn_q", 2 * HEADS * HEAD, WIDTH)
    tensors.matrix(name + "attn_k", KV_HEADS * HEAD, WIDTH)
    tensors.matrix(name + "attn_v", KV_HEADS * HEAD, WIDTH)
    tensors.matrix(name + "attn_output", WIDTH, HEADS * HEAD)
    tensors.vector(name + "attn_q_norm.weight", HEAD)
    tensors.vector(name + "attn_k_norm.weight", HEAD)


def write_delta(tensors, name):
    inner = DELTA_HEADS * DELTA_DIM
    tensors.matrix(name + "attn_qkv", 3 * inner, WIDTH)
    tensors.matrix(name + "attn_gate", inner, WIDTH)
    tensors.matrix(name + "ssm_alpha", DELTA_HEADS, WIDTH)
    tensors.matrix(name + "ssm_beta", DELTA_HEADS, WIDTH)
    tensors.matrix(name + "ssm_out", WIDTH, inner)
    tensors.convolution(name + "ssm_conv1d.weight", 3 * inner)
    tensors.vector(name + "ssm_dt.bias", DELTA_HEADS, value=0.1)
    tensors.vector(name + "ssm_a", DELTA_HEADS, value=-1.0)
    tensors.vector(name + "ssm_norm.weight", DELTA_DIM)


def main():
    kinds = ["Q4_0", "Q8_0", "BF16"]
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        raise SystemExit(f"usage: make_gguf.py {{{'|'.join(kinds)}}} OUT.gguf")
    kind, out = getattr(gguf.GGMLQuantizationType, sys.argv[1]), sys.argv[2]
    part = f"{out}.part"
    writer = gguf.GGUFWriter(part, ARCHITECTURE)
    write_metadata(writer)
    write_tokenizer(writer)
    tensors = Tensors(writer, kind)
    tensors.matrix("token_embd", VOCABULARY, WIDTH, deviation=0.02)
    tensors.vector("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        write_layer(tensors, layer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(part, out)


main()
