"""Decoders of the sizes that people use, with random weights, under vLLM on a GPU: prompts a second against the floor.

Part of ``python -m bench.refresh``. A decoder's answers do not matter here, so its weights are random; its shape, its
vocabulary and the prompts are as in use: the packaged text template with names and keywords, all pairs of some c1. The
floor is the larger of two times: the tokens that no cache holds at the GPU's peak, and the weights read once a step.
"""

from __future__ import annotations

import argparse
import json
import string
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import measure, python
from bench.table import Figure
from refresh.codebook import Codebook
from refresh.engines.model_files import END, PADDING, UNKNOWN
from refresh.prompts import RowContexts
from refresh.template import TEXT_TEMPLATE, Template

N_CLUSTERS, N_PAIRS, N_KEYWORDS, SEED = 761, 578_360, 10, 7
TOKENS_A_STEP = 16_384  # vLLM's default on these GPUs
GOAL_SECONDS, GOAL_CACHED = 1_200, 0.65
# Dense bf16 operations and bytes of memory a second, as the vendor states them.
PEAKS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.0e12)}


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """A decoder's size.

    Attributes
    ----------
    n_c1 : int     clusters all pairs of which are asked for: 760 prompts each
    """

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    n_c1: int

    @property
    def n_layer_weights(self) -> int:
        """Weights that each token goes through."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def n_head_weights(self) -> int:
        """Weights that only a prompt's last token goes through."""
        return self.hidden * self.vocabulary

    def floor_seconds(self, n_computed: int, n_prompts: int, peaks: tuple[float, float]) -> float:
        """Time that computing so many tokens takes at least."""
        operations = 2 * (n_computed * self.n_layer_weights + n_prompts * self.n_head_weights)
        n_steps = -(-n_computed // TOKENS_A_STEP)
        n_bytes = n_steps * 2 * (self.n_layer_weights + self.n_head_weights)
        return max(operations / peaks[0], n_bytes / peaks[1])


SHAPES = {
    "1.7B": DecoderShape("1.7B", 2_048, 6_144, 28, 16, 8, 128, 151_936, 60),
    "8B": DecoderShape("8B", 4_096, 14_336, 32, 32, 8, 128, 128_256, 40),
    "tiny": DecoderShape("tiny", 64, 128, 2, 2, 2, 32, 4_096, 1),
}


def gpu_figures(folder: Path, *, is_full: bool) -> list[Figure]:
    """Measure each decoder in a process of its own; without a GPU, say why there are no figures."""
    import torch

    if not torch.cuda.is_available():
        why = "no CUDA device here: run it on a machine with one, with vLLM installed"
        return [Figure(f"{name} decoder under vLLM", None, "prompts/s", "", why) for name in ("1.7B", "8B")]
    figures: list[Figure] = []
    for name in ("1.7B", "8B"):
        n_c1 = SHAPES[name].n_c1 if is_full else 4
        found = measure(python("-m", "bench.refresh_gpu", name, str(folder / name), str(n_c1)))
        figures += _figures(SHAPES[name], json.loads(found.output.strip().splitlines()[-1]))
    return figures


def _figures(shape: DecoderShape, found: dict[str, Any]) -> list[Figure]:
    name, rate = shape.name, found["prompts"] / found["seconds"]
    of = (
        f"{found['device']}, vLLM {found['vllm']}, random weights bf16, {found['prompts']:,} prompts of"
        f" {found['prompt_tokens'] / found['prompts']:.0f} tokens ({N_KEYWORDS} keywords a cluster);"
        " one run after a warm-up"
    )
    floor, is_8b = found["floor_seconds"], name == "8B"
    return [
        Figure(f"{name} decoder under vLLM", rate, "prompts/s", "", of),
        Figure(f"{name}: all {N_PAIRS:,} pairs", N_PAIRS / rate, "s", f"<= {GOAL_SECONDS:,}" if is_8b else "", ""),
        Figure(f"{name}: prompt tokens from cache", found["cached_share"], "share", f">= {GOAL_CACHED}", ""),
        Figure(
            f"{name}: time over the floor",
            None if floor is None else found["seconds"] / floor,
            "ratio",
            "",
            f"tokens that were computed at the GPU's peak: {floor:.3g} s" if floor else "no peak known of this GPU",
        ),
    ]


def measure_decoder(shape: DecoderShape, folder: Path, n_c1: int, options: dict[str, Any]) -> dict[str, Any]:
    """Open a decoder under vLLM and ask for all pairs of `n_c1` clusters."""
    import torch
    import vllm

    from refresh.engines.code_model import Asking
    from refresh.engines.vllm import VllmEngine

    names, keywords = catalogue()
    template = Template.packaged(TEXT_TEMPLATE)
    write_decoder(folder, shape, template, names, keywords)
    asking = Asking(template=template, keywords=keywords)
    engine = VllmEngine(folder, names, asking=asking, options={"load_format": "dummy", **options})
    rows = pairs_of(n_c1)
    # One rank: a model that was taught has all five among its best tokens, and one with random weights, whose codes are
    # no likelier than other tokens, would be asked again for each.
    engine.infer(rows[np.arange(min(256, len(rows)))], top_n=1)
    started = time.perf_counter()
    usage = engine.infer(rows, top_n=1).usage
    seconds = time.perf_counter() - started
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peaks = next((peaks for name, peaks in PEAKS.items() if name in device), None)
    n_computed = usage.n_prompt_tokens - usage.n_cached_tokens
    return {
        "device": device,
        "vllm": vllm.__version__,
        "prompts": usage.n_prompts,
        "prompt_tokens": usage.n_prompt_tokens,
        "cached_share": usage.n_cached_tokens / usage.n_prompt_tokens,
        "seconds": seconds,
        "floor_seconds": None if peaks is None else shape.floor_seconds(n_computed, usage.n_prompts, peaks),
    }


def catalogue() -> tuple[list[str], dict[str, str]]:
    """Names and keywords of all clusters, of words that are one token each."""
    generator = np.random.default_rng(SEED)
    letters = np.array(list(string.ascii_lowercase))
    words = ["".join(row) for row in letters[generator.integers(0, 26, (2_000, 6))]]
    names = [f"{words[number]} {words[number + 800]}" for number in range(N_CLUSTERS)]
    return names, {name: " ".join(generator.choice(words, N_KEYWORDS)) for name in names}


def pairs_of(n_c1: int) -> RowContexts:
    """All pairs of the first clusters, each with a retrieved one."""
    c1, c2 = np.divmod(np.arange(n_c1 * N_CLUSTERS), N_CLUSTERS)
    c1, c2 = c1[c1 != c2].astype(np.int32), c2[c1 != c2].astype(np.int32)
    return RowContexts(c1, c2, ((c1 + c2 + 1) % N_CLUSTERS).astype(np.int32)[:, None])


def write_decoder(
    folder: Path, shape: DecoderShape, template: Template, names: list[str], keywords: dict[str, str]
) -> None:
    """Write configuration and tokenizer; weights are made up when they are loaded."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    split = Whitespace()
    texts = [template.text, *names, *keywords.values(), '" , none']
    words = dict.fromkeys(word for text in texts for word, _ in split.pre_tokenize_str(text))
    vocabulary = [UNKNOWN, PADDING, END, *words]
    tokenizer = Tokenizer(WordLevel({word: token for token, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens([code for level in Codebook.of(names).levels for code in level])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 1_024,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": None,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")  # load_format=dummy reads none


def main() -> None:
    """Measure one decoder; the last line of the output is JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.refresh_gpu", description=__doc__)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("n_c1", type=int)
    given = parser.parse_args()
    print(json.dumps(measure_decoder(SHAPES[given.shape], given.folder, given.n_c1, {})))


if __name__ == "__main__":
    main()
