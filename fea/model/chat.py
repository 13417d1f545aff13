"""How a base is asked in the words of its own chat template, found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from fea.model import belonging
from fea.model.families.general import Manner

_SYSTEM, _ASKED, _SAID = "Look at the face.", "What does it show?", "A smile."


def conversation(manner: Manner, system: str, asked: str, image: bool = True) -> list[dict[str, Any]]:
    """The messages of a question about one image, or about none.

    Args:
        manner: how the system is told.
        system: what it says.
        asked: by the user.
        image: whether there is one.
    """
    shown = [*([{"type": "image"}] if image else []), {"type": "text", "text": asked}]
    if manner == "folded":
        return [{"role": "user", "content": [{"type": "text", "text": f"{system}\n\n"}, *shown]}]
    content: Any = system if manner == "text" else [{"type": "text", "text": system}]
    return [{"role": "system", "content": content}, {"role": "user", "content": shown}]


def written(tokenizer: Any, messages: Sequence[Any], answer: bool) -> str:
    """What the template makes of messages.

    Args:
        tokenizer: with the template.
        messages: as `conversation` makes them.
        answer: whether an answer is to begin.
    """
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
    return text


def manner_of(base: str, tokenizer: Any, place: str) -> Manner:
    """How the template of a base wants to be told a question, of the ways that all of it is said in.

    Args:
        base: as it was named.
        tokenizer: with the template.
        place: stands for an image in what it writes.

    Raises:
        FEAError: there is none.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        told = "has no chat template (no chat_template.jinja in it)"
        raise belonging.refusal(base, told, f"copy the chat template {belonging.ORIGIN}")
    why = f"it leaves out what is said, or has not one place ({place}) for an image"
    manners: tuple[Manner, ...] = get_args(Manner)
    for manner in manners:
        messages = conversation(manner, _SYSTEM, _ASKED)
        try:
            turns, asked = (written(tokenizer, messages, answer) for answer in (False, True))
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            why = " ".join(str(error).split())
            continue
        if _SYSTEM in asked and _ASKED in asked and asked.count(place) == 1 and len(asked) >= len(turns):
            return manner
    told = f"has a chat template that cannot write a question about an image ({why}), such as one for text alone"
    raise belonging.refusal(base, told, f"copy the chat template {belonging.ORIGIN}")


def end_of_turn(tokenizer: Any, manner: Manner) -> str | None:
    """The token that the template writes behind an answer; where it writes none, the one that ends a text."""
    said: Any = [{"type": "text", "text": _SAID}]
    for content in (said, _SAID):
        messages = [*conversation(manner, _SYSTEM, _ASKED), {"role": "assistant", "content": content}]
        text = written(tokenizer, messages, answer=False)
        if _SAID in text:
            behind = tokenizer(text.rpartition(_SAID)[2], add_special_tokens=False)["input_ids"]
            special = [token for token in tokenizer.convert_ids_to_tokens(behind) if token in _special(tokenizer)]
            if special:
                return str(special[0])
    return str(tokenizer.eos_token) if tokenizer.eos_token else None


def _special(tokenizer: Any) -> set[str]:
    return {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
