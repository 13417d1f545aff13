"""Does the thinking carry the answer: numbers made of how likely each emotion is given the thinking alone, without the image.

With q(e | t) the likelihood of the emotion e behind the thinking t, a share among the allowed ones (`fea.rollouts.consistency`
asks the policy for it), and n answers with thinking, the i-th of which answers a_i:

    consistency         share of all answers for which a_i is the likeliest emotion; unreadable ones do not carry anything
    consistency_gain    mean of  log q(a_i | t_i) - log p(a_i),     p(e) = mean of q(e | t_j) over all j

p is what the model answers without knowing which thinking it is: the mixture of what all of them lead to. (To ask it behind
no thinking at all would be to ask for what it never writes.) So the gain is 0 where the answer does not depend on the thinking,
and below 0 where the thinking speaks for another one. If answers are drawn from q it estimates the mutual information of answer
and thinking: at most log 7 = 1.95 nats for seven emotions that are alike frequent.

Most analyses end with their answer ("this points to fear"), which carries it by repeating it. `evidence` and `evidence_gain`
are the same numbers with all sentences left out that name an emotion, so that what was seen has to carry the answer.

F answers, E emotions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fea.evaluation.counts import Floats
from fea.prompts.answer import Answer

Likelihood = Mapping[str, float]  # by allowed emotion; empty where there is no readable answer, or no thinking

_LEAST = 1e-12  # in place of a likelihood of 0, which has no logarithm


class Carried(NamedTuple):
    """Sums over answers, of which those of several processes add up.

    Attributes:
        answers: all with thinking, and those whose thinking or emotion cannot be read.
        right: those of them whose emotion is the likeliest.
        logs: of those that can be read, sum of log q(a | t) in nats.
        said: (E,) how many of those answer each emotion.
        likely: (E,) sum of q(e | t) over them.
        allowed: (E,) how many of them may answer each emotion.
    """

    answers: float
    right: float
    logs: float
    said: Floats
    likely: Floats
    allowed: Floats

    def plus(self, other: Carried) -> Carried:
        """Both together."""
        return Carried(
            self.answers + other.answers,
            self.right + other.right,
            self.logs + other.logs,
            self.said + other.said,
            self.likely + other.likely,
            self.allowed + other.allowed,
        )


def count_carried(answers: Sequence[Answer], likelihoods: Sequence[Likelihood], words: Sequence[str]) -> Carried:
    """Counts answers.

    Args:
        answers: F answers, of which those without asked-for thinking do not count.
        likelihoods: of the emotions behind the thinking of each.
        words: the E emotions that any of them may answer.
    """
    kept = [pair for pair in zip(answers, likelihoods, strict=True) if pair[0].form != "only"]
    known = [(answer.emotion or "", likely) for answer, likely in kept if (answer.emotion or "") in likely]
    table_FE = np.array([[likely.get(word, np.nan) for word in words] for _, likely in known]).reshape(-1, len(words))
    return Carried(
        answers=float(len(kept)),
        right=float(sum(is_carried(emotion, likely) for emotion, likely in known)),
        logs=math.fsum(math.log(max(likely[emotion], _LEAST)) for emotion, likely in known),
        said=np.array([float(sum(emotion == word for emotion, _ in known)) for word in words]),
        likely=np.nansum(table_FE, axis=0),
        allowed=(~np.isnan(table_FE)).sum(axis=0).astype(float),
    )


def is_carried(emotion: str, likelihood: Likelihood) -> bool:
    """Whether an emotion is the likeliest; of several that are, none is carried."""
    return all(share < likelihood[emotion] for word, share in likelihood.items() if word != emotion)


def carried_scores(sums: Carried, name: str) -> dict[str, float]:
    """NAME and NAME_gain, as far as there are answers."""
    found = {name: sums.right / sums.answers} if sums.answers else {}
    readable = float(sums.said.sum())
    if readable:
        prior = np.maximum(sums.likely / np.maximum(sums.allowed, 1), _LEAST)
        found[f"{name}_gain"] = (sums.logs - float(sums.said @ np.log(prior))) / readable
    return found


def carried_worth(emotion: str | None, likelihood: Likelihood) -> float | None:
    """1 + log q(a | t) / log E, at least -1: 1 where the thinking leaves no doubt, 0 where it is worth no more than a guess.

    The logarithm is a proper score: nothing is gained by thinking that sounds surer than it is (Gneiting & Raftery, JASA 2007).

    Args:
        emotion: the answer a.
        likelihood: of each of the E allowed emotions.

    Returns:
        None if the answer is unreadable or not allowed, without thinking, or without a choice.
    """
    if emotion is None or emotion not in likelihood or len(likelihood) < 2:
        return None
    return max(-1.0, 1 + math.log(max(likelihood[emotion], _LEAST)) / math.log(len(likelihood)))
