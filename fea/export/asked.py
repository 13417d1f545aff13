"""The faces that a run and its export are both asked about, and what they say.

Shapes in names: T tokens of an answer, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fea.data.example import Example
from fea.model.chat import conversation
from fea.model.encoding import Encoder
from fea.model.families.general import Manner
from fea.model.policy import Policy
from fea.model.precision import computing
from fea.model.sampling import Generation
from fea.rollouts.rollout import Rollout, ask

_BATCH = 32  # prompts that are answered at a time, as in `fea analyze`
_RIVALS = 8  # tokens that are remembered for each place of an answer: where a model is undecided, it is so between few


class Asked(NamedTuple):
    """One question, for readers that know nothing of `fea`.

    Attributes:
        image: upright RGB picture.
        system: what is said before.
        user: what is asked beside the picture.
        answer: (T,) ids of the run's own greedy answer, with the end token.
        grid: rows and columns of patches that the run sees the picture in; zeros where its own processor cuts it.
        manner: in which the chat template is told it.
    """

    image: Any
    system: str
    user: str
    answer: Tensor
    grid: tuple[int, int]
    manner: Manner = "text"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As chat templates read them."""
        return conversation(self.manner, self.system, self.user)


class Heard(NamedTuple):
    """What a model says about one question.

    Attributes:
        logps: (T,) log-probabilities of the tokens of `Asked.answer`, in nats, over the whole vocabulary.
        written: ids of its own greedy answer.
        rivals: at each place of that, the likeliest tokens with their log-probabilities; empty for a model that is compared.
    """

    logps: Tensor
    written: list[int]
    rivals: Sequence[Mapping[int, float]] = ()


def answered(policy: Policy, precision: str, examples: Sequence[Example], max_tokens: int) -> list[Rollout]:
    """Greedy answers of a policy about faces, a batch a rollout, as `fea analyze` gives them.

    Args:
        policy: in eval mode, on its device.
        precision: that its run computed in.
        examples: the faces.
        max_tokens: length limit of an answer.
    """
    found = []
    for start in range(0, len(examples), _BATCH):
        with computing(precision, policy.network.device):
            prompts = policy.look([policy.encoder(example) for example in examples[start : start + _BATCH]])
            found.append(ask(policy, prompts, 1, Generation(max_tokens)))
    return found


def asked_of(rollouts: Sequence[Rollout], encoder: Encoder) -> list[Asked]:
    """The questions of rollouts with one answer each."""
    system, manner = encoder.told(encoder.form), encoder.family.manner
    found = []
    for rollout in rollouts:
        ids, lengths = rollout.completions.ids.cpu(), rollout.completions.mask.sum(dim=1).tolist()
        for prompt, row, length in zip(rollout.prompts, ids, lengths, strict=True):
            example = prompt.example
            image = encoder.picture(example)
            user = encoder.asked(example.question, example.emotions)
            grid = int(prompt.grid[1]), int(prompt.grid[2])
            found.append(Asked(image, system, user, row[: int(length)].clone(), grid, manner))
    return found


@torch.no_grad()
def heard(policy: Policy, examples: Sequence[Example], asked: Sequence[Asked], max_tokens: int) -> list[Heard]:
    """What a policy says in fp32, with the rivals of each token that it writes.

    Args:
        policy: in eval mode, on its device, with weights in fp32.
        examples: the faces.
        asked: what they are asked, in the same order.
        max_tokens: length limit of an answer.
    """
    found = []
    questions = iter(asked)
    for rollout in answered(policy, "32-true", examples, max_tokens):
        for number, prompt in enumerate(rollout.prompts):
            length = int(rollout.completions.mask[number].sum())
            written = rollout.completions.ids[number, :length]
            answer = next(questions).answer.to(written.device)
            logps_TV = policy.road.distributions(prompt, written)
            best = logps_TV.topk(min(_RIVALS, logps_TV.shape[1]), dim=1)
            rivals = [
                dict(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
            if not torch.equal(answer, written):
                logps_TV = policy.road.distributions(prompt, answer)
            chosen = logps_TV.gather(1, answer[:, None]).squeeze(1).cpu()
            found.append(Heard(chosen, written.tolist(), rivals))
    return found
