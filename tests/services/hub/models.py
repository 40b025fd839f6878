"""Models to serve: shaped like real ones, with a configuration and a tokenizer that transformers loads."""

from __future__ import annotations

import json

from tests.services.hub.content import Generated
from tests.services.hub.repos import Given

_MIB = 1 << 20
_SHARDS = (700_000_000, *(size * _MIB for size in (64, 64, 64, 64, 60, 56, 52, 48, 44, 40)))
_SMALLEST_SHARD = 4096
_HEAD = 512
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = "the a of to and in is it on that this model cache disk volume bytes were right before anyone waited for them"


def model_m20(scale: float = 1.0, seed: int = 20) -> dict[str, Given]:
    """20 files of 1.28 GB in all (times `scale`): one shard of 700 MB, ten of 40 to 64 MiB, nine small files."""
    shards = {
        f"model-{number:05}-of-{len(_SHARDS):05}.safetensors": shard(int(size * scale), seed * 1000 + number)
        for number, size in enumerate(_SHARDS, start=1)
    }
    index = {
        "metadata": {"total_size": sum(made.size - _HEAD for made in shards.values())},
        "weight_map": {f"layers.{number}.weight": name for number, name in enumerate(shards)},
    }
    return {
        ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "LICENSE": "Permission is granted to test with this model.\n",
        "README.md": "---\nlicense: mit\n---\n# m20\n\nA model of 20 files whose weights mean nothing.\n",
        "config.json": _text(config(seed)),
        "generation_config.json": _text({"max_new_tokens": 16, "pad_token_id": 0}),
        "model.safetensors.index.json": _text(index),
        "special_tokens_map.json": _text(_named_specials()),
        "tokenizer.json": _text(tokenizer()),
        "tokenizer_config.json": _text(tokenizer_config()),
        **shards,
    }


def shard(size: int, seed: int) -> Generated:
    """A valid safetensors file of about `size` bytes with one tensor."""
    size = max(size, _SMALLEST_SHARD)
    tensor = {"dtype": "U8", "shape": [size - _HEAD], "data_offsets": [0, size - _HEAD]}
    header = json.dumps({"__metadata__": {"format": "pt"}, f"layers.{seed % 1000 - 1}.weight": tensor}).encode()
    return Generated(size, seed, (_HEAD - 8).to_bytes(8, "little") + header.ljust(_HEAD - 8))


def config(seed: int) -> dict[str, object]:
    """config.json of a very small BERT; the seed makes one model's configuration differ from another's."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(_vocabulary()),
        "hidden_size": 32,
        "num_hidden_layers": len(_SHARDS),
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "seed": seed,
    }


def tokenizer() -> dict[str, object]:
    """tokenizer.json: whole words, lower case."""
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for number, token in enumerate(_SPECIAL)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": _vocabulary(), "unk_token": "[UNK]"},
    }


def tokenizer_config() -> dict[str, object]:
    """tokenizer_config.json that has transformers read tokenizer.json as it is."""
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **_named_specials()}


def _named_specials() -> dict[str, str]:
    return {f"{token.strip('[]').lower()}_token": token for token in _SPECIAL}


def _vocabulary() -> dict[str, int]:
    return {token: number for number, token in enumerate([*_SPECIAL, *_WORDS.split()])}


def _text(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
