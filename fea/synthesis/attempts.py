"""Stage 3, a batch of faces: the policy writes analyses, and only what passes the triple check is kept.

    attempt 1 sees the image and the question; a later one is told what kind of check its last attempt failed
    one beyond `reveal_after` sees the labels, and its record says so
    of its completions the first that passes is kept; a face that is hard gets more of them

Sampling noise belongs to the face and the attempt, so a batch that is tried again says the same.

Source: Facial-R1, arXiv 2511.10254v1, "Data synthesis".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.policy import Policy
from fea.model.sampling import Generation, noise
from fea.prompts.answer import Answer, parse, reordered
from fea.prompts.prompt import question_of
from fea.rollouts.rollout import ask
from fea.synthesis.checks import Reason, failures, hint, revelation
from fea.synthesis.recipe import Checks, Recipe
from fea.system.processes import gathered

# Says what is wrong with an answer about a face; nothing, if it is accepted.
Judge = Callable[[Answer, Example, Checks], Sequence[Reason]]


class Outcome(NamedTuple):
    """What became of a face.

    Attributes:
        example: the face.
        judged: the face with the labels it was judged by: its own, or those of a vote.
        answer: the accepted analysis, or None.
        attempts: that it took.
        revealed: whether the accepted one had seen the labels.
        reasons: of the rejection of each attempt's best completion.
    """

    example: Example
    judged: Example
    answer: Answer | None = None
    attempts: int = 0
    revealed: bool = False
    reasons: tuple[tuple[Reason, ...], ...] = ()


def attempted(
    policy: Policy,
    prompts: Sequence[Prompt],
    filler: Prompt,
    generation: Generation,
    recipe: Recipe,
    round: int,
    judge: Judge = failures,
) -> list[Outcome]:
    """Lets the policy try a batch of faces. All processes make the same number of rollouts.

    Args:
        policy: in eval mode.
        prompts: of the faces, on its device; there may be none.
        filler: a prompt to write about while other processes have faces left.
        generation: length limit and temperature.
        recipe: how often, and what is asked.
        round: of the synthesis; each draws its own completions.
        judge: says what is wrong with an answer.
    """
    outcomes = [Outcome(prompt.example, prompt.example) for prompt in prompts]
    waiting = list(range(len(prompts)))
    for attempt in range(1, recipe.attempts + 1):
        if not any(gathered(bool(waiting))):
            break
        asked = [_asked(policy, prompts[number], outcomes[number], attempt, recipe) for number in waiting]
        said = _said(policy, asked or [filler], generation, attempt, recipe, round)
        for number, answers in zip(waiting, said, strict=bool(asked)):
            outcomes[number] = _tried(outcomes[number], answers, attempt, recipe, judge)
        waiting = [n for n in waiting if not outcomes[n].answer and labeled(outcomes[n].example)]
    return outcomes


def labeled(example: Example) -> bool:
    """Whether anything is known of a face that an analysis can be checked by."""
    return bool(example.coded or example.labels)


def _asked(policy: Policy, prompt: Prompt, outcome: Outcome, attempt: int, recipe: Recipe) -> Prompt:
    """The prompt of an attempt: as it is for the first, with what was wrong for the others."""
    if attempt == 1:
        return prompt
    said = [question_of(prompt.example.question), hint(outcome.reasons[-1])]
    said += [revelation(prompt.example)] if attempt > recipe.reveal_after else []
    return policy.encoder.ask(prompt, " ".join(said))


def _said(
    policy: Policy, prompts: Sequence[Prompt], generation: Generation, attempt: int, recipe: Recipe, round: int
) -> list[list[Answer]]:
    """What the policy writes about each face."""
    ids, samples, turn = [prompt.example.id for prompt in prompts], recipe.samples * attempt, round * recipe.attempts
    chance = noise(ids, samples, generation.max_tokens, recipe.seed, turn + attempt)
    said = ask(policy, prompts, samples, generation, chance).by_prompt
    return [[as_in_files(answer, prompt) for answer in answers] for prompt, answers in zip(prompts, said, strict=True)]


def as_in_files(answer: Answer, prompt: Prompt) -> Answer:
    """The same with the answer behind the thinking: files have one form, whatever a policy was asked for."""
    if answer.form == "after_thinking" or not answer.well_formed:
        return answer
    return parse(reordered(answer.text, "after_thinking", answer.form), prompt.example.emotions)


def _tried(outcome: Outcome, answers: Sequence[Answer], attempt: int, recipe: Recipe, judge: Judge) -> Outcome:
    """What became of a face after one more attempt."""
    known = labeled(outcome.example)
    judged = outcome.example if known else voted(outcome.example, answers, recipe.vote or 1.0)
    if judged is None:
        return outcome._replace(attempts=attempt, reasons=(*outcome.reasons, ("vote",)))
    verdicts = [(judge(answer, judged, recipe.checks), answer) for answer in answers]
    reasons, answer = min(verdicts, key=lambda verdict: len(verdict[0]))  # the first of the best
    if reasons:
        return outcome._replace(attempts=attempt, reasons=(*outcome.reasons, tuple(reasons)))
    revealed = known and attempt > recipe.reveal_after
    return outcome._replace(judged=judged, answer=answer, attempts=attempt, revealed=revealed)


def voted(example: Example, answers: Sequence[Answer], share: float) -> Example | None:
    """A face with the labels that most of the answers about it agree on.

    Args:
        example: a face without labels.
        answers: about it.
        share: of the answers that have to agree. A unit on which they do not, either way, stays unknown.

    Returns:
        None if they do not agree on an emotion.
    """
    needed = share * len(answers)
    words = (answer.emotion for answer in answers if answer.emotion)
    emotions = Counter(word for word in words if not example.emotions or word in example.emotions)
    emotion, count = emotions.most_common(1)[0] if emotions else ("", 0)
    if not emotion or count < needed:
        return None
    claims = Counter(number for answer in answers for number in answer.aus)
    present = {number for number, claimed in claims.items() if claimed >= needed}
    absent = {number for number, claimed in claims.items() if len(answers) - claimed >= needed}
    codes = frozenset(f"AU{number}" for number in present)
    return example._replace(labels=(emotion,), aus=codes, coded=frozenset(present | absent))
