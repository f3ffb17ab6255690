"""Models of the 0.5b shape for the other systems: the plain Qwen2 decoder, random weights, their own four bits.

    python benchmarks/peers_models.py genai|llama PLACE BLOCK

Run by ``peers.py`` with the interpreter that has the system. Block and accuracy level as ours; a builder that ignores
an option says nothing of it, so both are read in the file that it wrote. llama.cpp's Q4_0 has blocks of 32 and is its
fastest four bits, with the embedding in Q8_0, as its own quantizer leaves it at more bits.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

VOCAB, WIDTH, INNER, LAYERS, HEADS, KV_HEADS, DIM = 151655, 896, 4864, 24, 14, 2, 64


def genai(place: Path, block: int) -> None:
    """By the builder that onnxruntime-genai brings. Raises SystemExit where its file has another block."""
    import onnx
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with TemporaryDirectory(dir=place.parent) as scratch:
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).to(torch.float16).save_pretrained(scratch)
        _words(Path(scratch))
        module = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        options = ["--extra_options", f"block_size={block}", "accuracy_level=4", "shared_embeddings=true"]
        subprocess.run([*module, "-i", scratch, "-o", place, "-p", "int4", "-e", "cpu", *options], check=True)
    nodes = onnx.load(place / "model.onnx", load_external_data=False).graph.node
    products = [{one.name: one.i for one in node.attribute} for node in nodes if node.op_type == "MatMulNBits"]
    found = {(one["bits"], one["block_size"], one.get("accuracy_level", 0)) for one in products}
    if found != {(4, block, 4)}:
        sys.exit(f"onnxruntime-genai wrote products of other bits, blocks and accuracy than asked for: {found}")


def _words(folder: Path) -> None:
    """A tokenizer, for the builder copies one."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), eos_token="<e>").save_pretrained(folder)


def llama(place: Path, block: int) -> None:
    """A GGUF file, written with llama.cpp's own package."""
    assert block == 32, "Q4_0 has blocks of 32"
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(place, "qwen2")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"word{number}" for number in range(VOCAB)])
    writer.add_token_merges(["a b"])
    random, four = np.random.default_rng(0), gguf.GGMLQuantizationType.Q4_0

    def matrix(name: str, rows: int, columns: int, kind: gguf.GGMLQuantizationType = four) -> None:
        numbers = random.standard_normal((rows, columns), np.float32) * np.float32(0.02)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(numbers, kind), raw_dtype=kind)

    def vector(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    matrix("token_embd", VOCAB, WIDTH, gguf.GGMLQuantizationType.Q8_0)
    vector("output_norm.weight", WIDTH, 1)
    for layer in range(LAYERS):
        for part, rows in (("q", HEADS * DIM), ("k", KV_HEADS * DIM), ("v", KV_HEADS * DIM)):
            matrix(f"blk.{layer}.attn_{part}", rows, WIDTH)
            vector(f"blk.{layer}.attn_{part}.bias", rows, 0)
        matrix(f"blk.{layer}.attn_output", WIDTH, HEADS * DIM)
        matrix(f"blk.{layer}.ffn_gate", INNER, WIDTH)
        matrix(f"blk.{layer}.ffn_up", INNER, WIDTH)
        matrix(f"blk.{layer}.ffn_down", WIDTH, INNER)
        vector(f"blk.{layer}.attn_norm.weight", WIDTH, 1)
        vector(f"blk.{layer}.ffn_norm.weight", WIDTH, 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Make a model, and give it its name when it is whole."""
    place = Path(sys.argv[2])
    partial = place.with_name(f"partial-{place.name}")
    if partial.exists():
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    {"genai": genai, "llama": llama}[sys.argv[1]](partial, int(sys.argv[3]))
    partial.rename(place)


if __name__ == "__main__":
    main()
