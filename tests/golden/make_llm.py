"""Writes the expectations of tests/llm.rs: tokens and logits as llama.cpp computes them.

    python3 -m venv venv && venv/bin/pip install cyllama==0.2.18 gguf==0.19.0 numpy
    venv/bin/python tests/golden/make_llm.py MODELS_DIR [DUMP_DIR]

MODELS_DIR holds qwen2.5-coder-0.5b/model.gguf and smollm2-135m/model.gguf. Each is first unpacked to an f32 GGUF, so
that llama.cpp computes with the very values of the quantised weights and does not round activations to int8 as it
does for quantised ones. The cache is f32 as well. DUMP_DIR receives all logits of all positions.
"""

import json
import pathlib
import sys
import tempfile

import cyllama.llama.llama_cpp as llama
import gguf
import numpy as np

MODELS = ["qwen2.5-coder-0.5b", "smollm2-135m"]

PROMPTS = {
    "chat": "<|im_start|>system\nAnswer in one short sentence.<|im_end|>\n<|im_start|>user\n"
            "What is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "prose": "The old lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote down the weather: "
             "wind from the west, 12 knots, clear sky. One night in November he found",
    "mixed": "def größe(n):\n    return n * 2  # 日本語 🙂\n\nprint(größe(21))\n",
}

TEXTS = [
    "", " ", "Hello, world!", "hello world", "  two  spaces", "trailing   ", "\n", "\n\n\n", "a\r\nb", "\t\tx = 1\n",
    "It's we'll THEY'RE I'd", "12345 3.14159 1,000,000", "2024-11-21T05:14:03Z", "x²+y³≠½", "naïve café über Straße",
    "Привет, как дела?", "日本語のテキスト、です。", "你好，世界！123", "안녕하세요 세계", "مرحبا بالعالم", "नमस्ते दुनिया",
    "ไทยภาษา", "🙂🚀👩‍👩‍👧 flags 🇫🇷🇯🇵", "mixed: один two 三 4", "<|im_end|> typed by hand <|endoftext|>",
    "https://example.org/a?b=c&d=%20#e", "fn main() { println!(\"{}\", 1); }", "    indented\n        more\n",
    "zero\u200bwidth and nbsp\u00a0here", "MiXeD CaSe ABCdef", "... --- *** ///", "e\u0301 decomposed", "I’m “quoted” — yes…",
]


class Model(llama.LlamaModel):
    """get_logits_ith of this cyllama asks its model for a number that the model does not have."""

    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


def unpack(path, out):
    """An f32 GGUF with the same metadata and the values of every tensor."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model, tokens):
    params = llama.LlamaContextParams()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads, params.n_threads_batch = 512, 512, 512, 2, 2
    params.type_k = params.type_v = 0  # f32
    params.flash_attn_type = 0
    context = llama.LlamaContext(model, params, verbose=False)
    batch = llama.LlamaBatch(n_tokens=512, embd=0, n_seq_max=1)
    batch.set_batch(tokens, n_past=0, logits_all=True)
    context.decode(batch)
    return [np.array(context.get_logits_ith(i), dtype=np.float32) for i in range(len(tokens))]


def expectation(rows, tokens):
    def top(row):
        order = np.argsort(-row, kind="stable")[:10]
        return [[int(i), round(float(row[i]), 4)] for i in order]

    picked = sorted({0, 1, len(tokens) // 2, len(tokens) - 1})
    # A near tie may fall either way: positions whose two best logits are closer than 0.01 are left open.
    def best(row):
        first, second = np.sort(row)[::-1][:2]
        return int(row.argmax()) if first - second > 0.01 else None

    return {"tokens": tokens, "best": [best(row) for row in rows], "top": {str(i): top(rows[i]) for i in picked}}


def main(models, dump=None):
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            plain = str(pathlib.Path(folder) / "f32.gguf")
            unpack(models / name / "model.gguf", plain)
            model = Model(path_model=plain, verbose=False)
            vocab = model.get_vocab()
            cut = lambda text, special: list(vocab.tokenize(text, add_special=False, parse_special=special))
            prompts = {}
            for key, text in PROMPTS.items():
                tokens = cut(text, True)
                rows = logits(model, tokens)
                if dump:
                    np.save(dump / f"{name}-{key}.npy", np.stack(rows))
                prompts[key] = {"text": text, **expectation(rows, tokens)}
            texts = [[text, cut(text, False)] for text in TEXTS]
            golden = {"model": name, "prompts": prompts, "texts": texts}
            out = pathlib.Path(__file__).parent / f"llm-{name}.json"
            out.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
            print(out, out.stat().st_size)


main(*map(pathlib.Path, sys.argv[1:]))
