"""How likely a model is to answer each of the allowed emotions, when it has come to the point of answering.

    prompt | <think> ... </think>                       of the answer itself; nothing where the answer comes at once
                                  <answer>anger</answer>
                                  <answer>fear</answer>      each is a completion; what they begin with is the same
    log p                         -3.1   -0.2   ...
    likelihood                    0.05   0.93   ...          a softmax of these: a share among the allowed words

What a model would rather write than any of them is left out, and a word is as likely as all of its tokens together. After a
thinking these numbers tell how sure the last step is, and not the thinking before it: that has mostly chosen already. Votes of
several answers (`samples`) tell how much the thinking itself varies.

What all words about a face begin with, the thinking, is read once: it stands at the end of the prompt that they share.

Shapes in names: B prompts, E emotions of each, T tokens of a completion.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.prompt import Prompt
from fea.model.layout import next_positions
from fea.model.policy import Policy
from fea.prompts.answer import Answer, Form, render
from fea.prompts.numbers import AFFECT, Numbers

# What stands behind an answer that is not the end, since a token may join the end of a tag and the beginning of the next.
_BEHIND: dict[Form, str] = {"first": "<think>"}


def likelihoods(
    policy: Policy, prompts: Sequence[Prompt], answers: Sequence[Answer], batch_size: int
) -> list[dict[str, float]]:
    """The likelihood of each allowed emotion of each face.

    Args:
        policy: in eval mode.
        prompts: on its device.
        answers: one to each, whose thinking is gone on from.
        batch_size: completions at a time.

    Returns:
        By emotion, numbers that add up to 1; nothing of a face whose answer broke off before it came to an emotion, or of which
        no emotion is allowed.
    """
    return likelihoods_behind(policy, prompts, [before_answer(answer) for answer in answers], batch_size)


def likelihoods_behind(
    policy: Policy, prompts: Sequence[Prompt], before: Sequence[str | None], batch_size: int
) -> list[dict[str, float]]:
    """The same behind any text of each prompt; nothing behind None."""
    found: list[dict[str, float]] = [{} for _ in prompts]
    ready = [(number, text) for number, text in enumerate(before) if text is not None]
    for emotions, alike in itertools.groupby(ready, key=lambda pair: prompts[pair[0]].example.emotions):
        faces = list(alike) if emotions else []
        size = max(1, batch_size // max(1, len(emotions)))
        for some in (faces[start : start + size] for start in range(0, len(faces), size)):
            asked = [prompts[number] for number, _ in some]
            shares_BE = shares(policy, asked, [text for _, text in some], emotions)
            for (number, _), row in zip(some, shares_BE.tolist(), strict=True):
                found[number] = dict(zip(emotions, row, strict=True))
    return found


def before_answer(answer: Answer) -> str | None:
    """What a model has written when it begins to answer; None if it never came so far."""
    if answer.form != "after_thinking":
        return ""
    if answer.answer_span:
        return answer.text[: answer.answer_span[0]]
    return answer.text[: answer.think_span[1]] if answer.think_span else None


def completion(policy: Policy, before: str, emotion: str, form: Form, numbers: Numbers = ()) -> Tensor:
    """(T,) ids of an answer behind what was written before it; up to the first number, where numbers are to follow the word."""
    written = f"{render('', emotion, 'only')}{_BEHIND.get(form, '')}"
    if affect := [name for name in AFFECT if name in numbers]:
        written = written[: written.index(emotion)] + f"{emotion}; {affect[0]}"
    return policy.encoder.target(f"{before}{written}")[:-1]


@torch.no_grad()
def shares(policy: Policy, prompts: Sequence[Prompt], before: Sequence[str], emotions: Sequence[str]) -> Tensor:
    """(B, E) likelihoods.

    Args:
        policy: in eval mode.
        prompts: on its device.
        before: what was written behind each before the answer.
        emotions: the allowed ones, of all of them.
    """
    asked, rows, skipped = [], list[Tensor](), []
    for prompt, text in zip(prompts, before, strict=True):
        words = [completion(policy, text, word, prompt.form, prompt.numbers).to(prompt.ids.device) for word in emotions]
        same = _same(words)
        # In rows nothing is shared, and a prompt may have more than ids and places.
        cut = same if policy.config.layout != "rows" else 0
        asked.append(_behind(prompt, words[0][:cut]))
        rows += [word[cut:] for word in words]
        skipped.append(same - cut)
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logps_BET = policy.logps(asked, ids, mask)[0].double().unflatten(0, (len(prompts), len(emotions)))
    # What all begin with is equally likely in all of them, and would only take digits from the rest.
    sums = [logps_ET[:, start:].sum(dim=1) for logps_ET, start in zip(logps_BET, skipped, strict=True)]
    return torch.stack(sums).softmax(dim=1)


def _behind(prompt: Prompt, ids: Tensor) -> Prompt:
    """A prompt that goes on with what was written."""
    places = next_positions(prompt, len(ids)).expand(3, -1)
    return prompt._replace(ids=torch.cat([prompt.ids, ids]), positions=torch.cat([prompt.positions, places], dim=1))


def _same(rows: Sequence[Tensor]) -> int:
    """How many tokens all rows begin with; the last one of a row is never among them."""
    columns = zip(*(row.tolist()[:-1] for row in rows), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda ids: len({*ids}) == 1, columns))
