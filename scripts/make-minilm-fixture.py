#!/usr/bin/env python3
"""Computes the reference embeddings that `tests/minilm.rs` compares with.

Reads  tests/fixtures/minilm/sentences.txt (one sentence per line) and models/all-MiniLM-L6-v2.
Writes tests/fixtures/minilm/reference.safetensors: `embeddings` (f32, one row per sentence, length 1) and
       `tokens` (i32, tokens of each sentence with the two special ones, after truncation to 256).

The reference is PyTorch's BERT from the `transformers` package on the CPU, one sentence at a time (so no padding can
play a part), in f64. Needs torch, transformers, safetensors and tokenizers; `scripts/python-env` installs them.
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
FIXTURE = ROOT / "tests" / "fixtures" / "minilm"
LONGEST = 256  # tokens; what the published model was configured for


def load_model():
    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=512, type_vocab_size=2, hidden_act="gelu", layer_norm_eps=1e-12,
    )
    model = BertModel(config)
    missing, unexpected = model.load_state_dict(load_file(MODEL / "model.safetensors"), strict=False)
    assert not missing, missing
    assert all("position_ids" in name for name in unexpected), unexpected
    return model.double().eval()


def embed(model, ids):
    ids = torch.tensor([ids])
    hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(0), dim=0)


def main():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    sentences = (FIXTURE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    tokens = [tokenizer.encode(s).ids for s in sentences]
    model = load_model()
    with torch.no_grad():
        rows = torch.stack([embed(model, ids) for ids in tokens])
    lengths = torch.tensor([len(ids) for ids in tokens], dtype=torch.int32)
    save_file({"embeddings": rows.float().contiguous(), "tokens": lengths}, FIXTURE / "reference.safetensors")
    print(f"{len(sentences)} sentences of {min(lengths)} to {max(lengths)} tokens")


if __name__ == "__main__":
    main()
