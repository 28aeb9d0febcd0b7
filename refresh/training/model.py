"""A small decoder and its tokenizer, made from nothing but the template's words and the codebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refresh.codebook import NONE_CODE, Codebook
from refresh.engines.model_files import END, PADDING, UNKNOWN, build_model
from refresh.prompts import Template

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_INITIAL_STD = 0.02  # small codes first: copying is learned within tens of steps, with 0.2 it takes hundreds


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of the decoder.

    Heads of 32 dimensions are the narrowest that attention kernels commonly support.

    Attributes
    ----------
    hidden, intermediate, layers, heads : int
    positions : int     the longest prompt, in tokens
    """

    hidden: int = 64
    intermediate: int = 128
    layers: int = 2
    heads: int = 2
    positions: int = 32


def shape_for(n_tokens: int) -> ModelShape:
    """Choose the size for prompts and answers of so many tokens.

    Examples
    --------
    >>> shape_for(13).positions, shape_for(40).positions
    (32, 40)
    """
    usual = ModelShape()
    return replace(usual, positions=max(usual.positions, n_tokens))


def new_tokenizer(template: Template, codebook: Codebook) -> PreTrainedTokenizerFast:
    """Make a tokenizer in which every word and every code is exactly one token; codes are consecutive."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = [
        UNKNOWN,
        PADDING,
        END,
        NONE_CODE,
        *template.words,
        *(token for level in codebook.levels for token in level),
    ]
    tokenizer = Tokenizer(WordLevel({word: token for token, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    wrap: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PADDING,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def new_model(n_tokens: int, shape: ModelShape, *, seed: int) -> LlamaForCausalLM:
    """Make a decoder with random weights that follow from `seed` (the caller's random state is left alone)."""
    import torch
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        initializer_range=_INITIAL_STD,
        bos_token_id=None,
        pad_token_id=1,
        eos_token_id=2,
        use_cache=False,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(config)
