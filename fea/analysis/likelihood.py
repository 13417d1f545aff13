"""How likely a model is to answer each of the allowed emotions, when it has come to the point of answering.

    prompt | <think> ... </think>                       of the answer itself; nothing where the answer comes at once
                                  <answer>anger</answer>
                                  <answer>fear</answer>      each is a completion; what they begin with is the same
    log p                         -3.1   -0.2   ...
    likelihood                    0.05   0.93   ...          a softmax of these: a share among the allowed words

What a model would rather write than any of them is left out, and a word is as likely as all of its tokens together. After a
thinking these numbers tell how sure the last step is, and not the thinking before it: that has mostly chosen already. Votes of
several answers (`samples`) tell how much the thinking itself varies.

Shapes in names: B prompts, E emotions of each, T tokens of a completion.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.prompts.answer import Answer, Form, render

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
    found: list[dict[str, float]] = [{} for _ in prompts]
    ready = [(number, text) for number, answer in enumerate(answers) if (text := before_answer(answer)) is not None]
    for emotions, alike in itertools.groupby(ready, key=lambda pair: prompts[pair[0]].example.emotions):
        faces = list(alike) if emotions else []
        size = max(1, batch_size // max(1, len(emotions)))
        for some in (faces[start : start + size] for start in range(0, len(faces), size)):
            asked = [prompts[number] for number, _ in some]
            shares_BE = _shares(policy, asked, [text for _, text in some], emotions)
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


def completion(policy: Policy, before: str, emotion: str, form: Form) -> Tensor:
    """(T,) ids of an answer behind what was written before it."""
    return policy.encoder.target(f"{before}{render('', emotion, 'only')}{_BEHIND.get(form, '')}")[:-1]


@torch.no_grad()
def _shares(policy: Policy, prompts: Sequence[Prompt], before: Sequence[str], emotions: Sequence[str]) -> Tensor:
    """(B, E) likelihoods."""
    rows = [
        completion(policy, text, emotion, prompt.form).to(prompt.ids.device)
        for prompt, text in zip(prompts, before, strict=True)
        for emotion in emotions
    ]
    ids = pad_sequence(rows, batch_first=True)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logps = policy.logps(prompts, ids, mask)[0].double()
    sums = []
    for start in range(0, len(rows), len(emotions)):
        group = slice(start, start + len(emotions))
        # What all begin with is equally likely in all of them, and would only take digits from the rest.
        sums.append(logps[group, _same(rows[group]) :].sum(dim=1))
    return torch.stack(sums).softmax(dim=1)


def _same(rows: Sequence[Tensor]) -> int:
    """How many tokens all rows begin with."""
    columns = zip(*(row.tolist() for row in rows), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda ids: len({*ids}) == 1, columns))
