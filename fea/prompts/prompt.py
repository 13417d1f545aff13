"""The prompt, and the answer read back from a text.

Knowledge first, face last: all that is the same for every face (what the Action Units look like, what to write, an example)
stands in the system message; the user message holds the image, the question and the allowed emotions. So every prompt of a
data set begins with the same tokens.

`parse` reads a text into the one `Answer` that rewards, metrics, synthesis and prediction share; `render` is its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fea.facs import ACTION_UNITS, PROMPTED_AUS
from fea.prompts.answer import Form, render
from fea.prompts.numbers import AFFECT, GRADES, Number, Numbers, written_affect

PROMPT_VERSION = "1"  # change it with any change of the words below: it is stored in every checkpoint
Knowledge = Literal["full", "brief"]

DEFAULT_QUESTION = "What is the emotion of this face?"

_BRIEF: dict[Form, str] = {
    "after_thinking": "Name the Action Units{graded}, then the emotion{affect}.",
    "first": "Name the emotion{affect}, then the Action Units{graded}.",
    "only": "Name the emotion{affect}.",
}
_REQUIREMENTS: dict[Form, str] = {
    "after_thinking": """\
1. Look at the brows, eyes, nose, cheeks, mouth, chin and jaw before you decide.
2. Inside <think> and </think>, describe what you see and put the code of each visible unit in parentheses after \
its sign{graded}.
3. Name no unit that you do not see; a neutral face may show none.
4. Say which emotion the units add up to, and why.
5. Inside <answer> and </answer>, write one of the allowed emotions{affect} and nothing else.
6. Write nothing outside these two blocks.""",
    "first": """\
1. Look at the brows, eyes, nose, cheeks, mouth, chin and jaw before you decide.
2. First, inside <answer> and </answer>, write one of the allowed emotions{affect} and nothing else.
3. Then, inside <think> and </think>, describe what you see and put the code of each visible unit in parentheses after \
its sign{graded}.
4. Name no unit that you do not see; a neutral face may show none.
5. Say how the units add up to this emotion, and why.
6. Write nothing outside these two blocks.""",
    "only": """\
1. Look at the brows, eyes, nose, cheeks, mouth, chin and jaw before you decide.
2. Inside <answer> and </answer>, write one of the allowed emotions{affect} and nothing else.
3. Explain nothing, and write nothing outside this block.""",
}
# What stands in the places of the texts above where numbers are asked for; nothing where they are not.
_GRADED = {
    "brief": " with their grades, A to E",
    "full": ", with the letter of its intensity: A trace, B slight, C marked, D severe, E maximum",
}
_AFFECT: dict[Knowledge, dict[Number, str]] = {
    "brief": {"valence": " and valence", "arousal": " and arousal"},
    "full": {
        "valence": ", then its valence from -1 (unpleasant) to 1 (pleasant)",
        "arousal": ", then its arousal from -1 (calm) to 1 (excited)",
    },
}
_READ = "You read Action Units (AUs) from a face and reason from them to the emotion that the face expresses."
_KNOW = "By the Action Units (AUs) that a face shows you know the emotion that it expresses."
_EXAMPLE_THINK = (
    "The inner ends of the brows are raised (AU1{C}) and the brows are drawn together (AU4{B}). The lip corners are pulled "
    "down (AU15{D}) while the chin pushes up (AU17{B}). Raised inner brows above a downturned mouth are typical of sadness."
)
_EXAMPLE_AFFECT: dict[Number, float] = {"valence": -0.7, "arousal": -0.3}


def system_prompt(knowledge: Knowledge = "full", form: Form = "after_thinking", numbers: Numbers = ()) -> str:
    """What the model is told before it sees a face.

    Args:
        knowledge: "full" defines the units, states the requirements and works an example (about 700 tokens); "brief" is one
            line, for models whose budget the long text would eat.
        form: where the answer stands.
        numbers: that are asked for beside the words; where the answer stands alone, nobody asks for grades of units.
    """
    graded = _GRADED[knowledge] if "intensity" in numbers else ""
    affect = [name for name in AFFECT if name in numbers]
    places = {"graded": graded, "affect": "".join(_AFFECT[knowledge][name] for name in affect)}
    if knowledge == "brief":
        return _BRIEF[form].format_map(places)
    units = "\n".join(f"AU{n} {ACTION_UNITS[n].name}: {ACTION_UNITS[n].sign}" for n in PROMPTED_AUS)
    answer = written_affect("sadness", {name: _EXAMPLE_AFFECT[name] for name in affect})
    return (
        f"You are an expert in the Facial Action Coding System (FACS). {_KNOW if form == 'only' else _READ}\n\n"
        f"Action Units:\n{units}\n\nRequirements:\n{_REQUIREMENTS[form].format_map(places)}\n\n"
        f"Example:\n{render(example_analysis('intensity' in numbers), answer, form)}"
    )


def example_analysis(graded: bool = False) -> str:
    """The thinking of the worked example, which a model may be tempted to repeat; with grades, or without."""
    return _EXAMPLE_THINK.format_map({letter: letter * graded for letter in GRADES})


def user_prompt(question: str, emotions: Sequence[str]) -> str:
    """What is asked about one face: the question (a default if empty) and the allowed emotions."""
    question = question_of(question)
    return f"{question} Choose from: {', '.join(emotions)}." if emotions else question


def question_of(question: str) -> str:
    """The question without a placeholder of the image; the default one if it is empty."""
    return question.replace("<image>", "").strip() or DEFAULT_QUESTION
