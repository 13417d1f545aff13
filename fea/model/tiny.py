"""A network of a family, small enough for a laptop: the real architecture from a config, a byte-level BPE tokenizer of its own.

It is born with random weights. Tests train it, and `fea demo` teaches it to see before the three stages begin.
"""

from __future__ import annotations

from typing import Any

import torch

from fea.drawn.faces import DESCRIBE
from fea.drawn.wording import CORPUS
from fea.drawn.world import EMOTIONS
from fea.model.config import TinySize
from fea.model.families.family import Family
from fea.prompts.answer import render
from fea.prompts.prompt import system_prompt, user_prompt

# Words, single digits, punctuation runs and white space, as large models split their text.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(family: Family) -> Any:
    """A tokenizer with the family's special tokens, trained on the words of the demo."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    specials = family.tiny.special_tokens
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    frames = [render("The", emotion) for emotion in EMOTIONS]
    texts = [
        *CORPUS,
        *frames,
        system_prompt("brief"),
        user_prompt("", EMOTIONS),
        user_prompt(DESCRIBE, ()),
        "system user assistant\n",
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=768, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(texts * 2, trainer)
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return Qwen2TokenizerFast(
        tokenizer_object=raw,
        eos_token=family.end_token,
        pad_token=specials[0],
        unk_token=None,
        bos_token=None,
        additional_special_tokens=list(specials[1:]),
        model_max_length=4096,
        padding_side="left",
        chat_template=family.tiny.chat_template,
    )


def build_config(family: Family, tokenizer: Any, size: TinySize) -> Any:
    """The config of the network."""
    import transformers

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in family.tiny.special_tokens}
    end, padding = ids[family.end_token], ids[family.tiny.special_tokens[0]]
    dimensions = family.tiny.dimensions(size.hidden, size.layers, size.heads, size.vision_hidden, size.vision_layers)
    words = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": end, "pad_token_id": padding}
    return getattr(transformers, family.config_class)(
        text_config={**dimensions.text, **words, "initializer_range": size.spread},
        vision_config={**dimensions.vision, "initializer_range": size.spread},
        tie_word_embeddings=dimensions.tied,
        initializer_range=size.spread,
        **{attribute: ids[token] for attribute, token in family.never_sampled.items()},
    )


def build_model(family: Family, tokenizer: Any, size: TinySize) -> Any:
    """The network with random weights, a function of `size` alone."""
    import transformers

    config = build_config(family, tokenizer, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(size.seed)
        model = getattr(transformers, family.model_class)(config)
    words = config.text_config
    model.generation_config.eos_token_id = [words.eos_token_id, words.pad_token_id]
    model.generation_config.pad_token_id = words.pad_token_id
    return model


def build_image_processor(family: Family) -> Any:
    """The family's image processor, in the version that needs no torchvision."""
    import transformers

    return getattr(transformers, family.tiny.image_processor_class)(**family.tiny.image_processor)
