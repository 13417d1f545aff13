"""How likely each emotion is given the thinking of an answer alone: the policy is asked again, and shown no image.

    prompt without the image | <think> ... </think> | <answer>anger</answer>
                                                    | <answer>fear</answer>  ...

Since nothing of a face is left but the text about it, all faces with the same question share their prompt, each thinking is
read once, and the words behind it are a few tokens each. The question is always the one that asks for thinking first, wherever
the answer stood. `fea.evaluation.carried` tells what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from fea.data.prompt import Prompt
from fea.evaluation.carried import Carried, carried_scores, count_carried
from fea.model.policy import Policy
from fea.prompts.answer import Answer, render
from fea.prompts.emotion import without_emotions
from fea.rollouts.likelihood import likelihoods_behind
from fea.rollouts.rollout import Rollout
from fea.system.processes import gathered

_ROWS = 256  # words at a time: with thinkings of 100 tokens about 5,000 tokens, as an update of the demo has them


def carried(policy: Policy, rollout: Rollout, evidence: bool) -> list[dict[str, float]]:
    """The likelihood of each allowed emotion behind the thinking of each answer of a rollout.

    Args:
        policy: in eval mode.
        rollout: with B prompts on its device.
        evidence: leave out all sentences of a thinking that name an emotion.

    Returns:
        By emotion, numbers that add up to 1, for each of the N answers; empty for one without a readable emotion or without
        thinking.
    """
    found: list[dict[str, float]] = [{} for _ in rollout.answers]
    places: dict[tuple[str, tuple[str, ...], str], list[int]] = {}
    unseen: dict[tuple[str, tuple[str, ...]], Prompt] = {}
    for number, answer in enumerate(rollout.answers):
        prompt = rollout.prompts[number // rollout.group]
        asked = (prompt.example.question, prompt.example.emotions)
        text = thinking_of(answer, prompt.example.emotions, evidence)
        if text is not None:
            if asked not in unseen:
                unseen[asked] = policy.encoder.without_image(prompt, "after_thinking")
            places.setdefault((*asked, text), []).append(number)  # the same words are asked about once
    # Those with the same emotions next to each other, so that they go together.
    keys = sorted(places, key=lambda key: key[:2])
    told = likelihoods_behind(policy, [unseen[key[:2]] for key in keys], [key[2] for key in keys], _ROWS)
    for key, likely in zip(keys, told, strict=True):
        for number in places[key]:
            found[number] = likely
    return found


def thinking_of(answer: Answer, emotions: Sequence[str], evidence: bool) -> str | None:
    """What is written behind the question; None without thinking, or without an emotion that it could carry."""
    if not (answer.think or "").strip() or answer.emotion not in emotions:
        return None
    think = answer.think or ""
    return render(without_emotions(think, emotions) if evidence else think, "").removesuffix(render("", "", "only"))


class CarriedScores:
    """Adds up, over batches and processes, how far thinking carries answers.

    Args:
        words: the emotions that answers may be.
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self.sums: dict[str, Carried] = {}

    def add(self, policy: Policy, rollout: Rollout) -> None:
        """Asks a policy in eval mode about the answers of a rollout."""
        for name, evidence in (("consistency", False), ("evidence", True)):
            found = count_carried(rollout.answers, carried(policy, rollout, evidence), self.words)
            self.sums[name] = self.sums[name].plus(found) if name in self.sums else found

    def compute(self) -> dict[str, float]:
        """The numbers over all processes, each of which calls this; empty if no answer had to think. Begins anew."""
        parts, self.sums = gathered(self.sums), {}
        found: dict[str, float] = {}
        for name in ("consistency", "evidence"):
            if sums := [part[name] for part in parts if name in part]:
                found |= carried_scores(reduce(Carried.plus, sums), name)
        return found
