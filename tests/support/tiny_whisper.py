"""A Whisper model of half a megabyte with random weights: real code runs on it, and it talks seeded nonsense.

Built with CTranslate2's own spec classes, so that faster-whisper loads it like a published one.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import whisper_spec

WIDTH, HEADS, MELS = 32, 2, 80
WORDS = tuple(
    "".join(syllables)
    for syllables in itertools.product(("ba", "do", "ki", "lu"), ("ma", "ne", "so", "ti"), ("", "ra", "vo"))
)
LANGUAGES = ("en", "es", "de", "fr")


def build(folder: Path, *, multilingual: bool = False, seed: int = 1) -> Path:
    """Write the model's files into a new folder."""
    folder.mkdir(parents=True)
    vocabulary = _vocabulary(multilingual)
    ids = {token: i for i, token in enumerate(vocabulary)}
    spec = _spec(len(vocabulary), ids["<|endoftext|>"] + 1, seed)
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [ids["<|endoftext|>"]]
    spec.config.lang_ids = [ids[f"<|{language}|>"] for language in LANGUAGES]
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(folder))
    _tokenizer(ids).save(str(folder / "tokenizer.json"))
    features = {"feature_size": MELS, "sampling_rate": 16000, "hop_length": 160, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "chunk_length": 30}))
    return folder


def _vocabulary(multilingual: bool) -> list[str]:
    # CTranslate2 takes a vocabulary with an empty token for a multilingual one, whatever its size.
    words = ["unk", *WORDS, "" if multilingual else "filler"]
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    return [*words, *special, "<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(1501))]


def _tokenizer(ids: dict[str, int]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="unk"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([token for token in ids if token.startswith("<|")])
    return tokenizer


def _spec(vocabulary_size: int, sayable: int, seed: int) -> Any:
    spec = whisper_spec.WhisperSpec(1, HEADS, 1, HEADS)
    random = np.random.default_rng(seed)

    def fill(linear: Any, *shape: int) -> None:
        linear.weight = random.normal(0, 0.4, shape).astype(np.float32)
        linear.bias = np.zeros(shape[0], np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def body(layer: Any) -> None:
        norm(layer.self_attention.layer_norm)
        fill(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
        fill(layer.self_attention.linear[1], WIDTH, WIDTH)
        norm(layer.ffn.layer_norm)
        fill(layer.ffn.linear_0, 4 * WIDTH, WIDTH)
        fill(layer.ffn.linear_1, WIDTH, 4 * WIDTH)

    encoder, decoder = spec.encoder, spec.decoder
    fill(encoder.conv1, WIDTH, MELS, 3)
    fill(encoder.conv2, WIDTH, WIDTH, 3)
    encoder.position_encodings.encodings = random.normal(0, 0.1, (1500, WIDTH)).astype(np.float32)
    norm(encoder.layer_norm)
    body(encoder.layer[0])
    decoder.embeddings.weight = random.normal(0, 0.4, (vocabulary_size, WIDTH)).astype(np.float32)
    decoder.position_encodings.encodings = random.normal(0, 0.4, (448, WIDTH)).astype(np.float32)
    norm(decoder.layer_norm)
    decoder.projection.weight = decoder.embeddings.weight.copy()
    decoder.projection.weight[sayable:] = 0  # words win over the special tokens, so that there is always text
    body(decoder.layer[0])
    cross = decoder.layer[0].attention
    norm(cross.layer_norm)
    fill(cross.linear[0], WIDTH, WIDTH)
    fill(cross.linear[1], 2 * WIDTH, WIDTH)
    fill(cross.linear[2], WIDTH, WIDTH)
    return spec
