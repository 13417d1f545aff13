"""What is counted of answers, and the numbers that sums of counts make: the one ruler of training, tests and comparisons.

    examples, answers  --count_aus, count_emotions-->  counts, a row a face
                       --pooled-->                     sums: of all faces, of a fold, of a subgroup, of a bootstrap draw
                       --au_scores, emotion_scores-->  numbers by name

Sums add up: those of two processes, or of two folds, are added before a number is made of them. Only coded units are judged,
and only known emotions; an answer that cannot be read counts as wrong, it is never dropped.

Means over faces hardly change when a rare class is forgotten, and may rise. So means over classes stand beside them: macro F1,
and the unweighted average recall, in which each class that occurs counts alike.

F faces, N FACS numbers, E emotions; "..." is (F,) in counts, (D,) in D sums and () in a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fea.data.example import Example
from fea.evaluation.scores import has_thinking
from fea.facs import compound_parts, nearest_emotions
from fea.prompts.answer import Answer

Floats = NDArray[np.float64]

NUMBERS = 100  # FACS numbers have at most two digits, so that each is its own column
SCORED = ("au_f1", "emotion_f1")  # means over classes, of which `overall` is the mean


class AUCounts(NamedTuple):
    """Counts of claimed Action Units, over the answers about faces of which some unit was coded.

    Attributes:
        hits: (..., N) answers that claim a unit that is there.
        claimed: (..., N) answers that claim a unit that was coded.
        present: (..., N) answers about a face that shows the unit.
        coded: (..., N) answers about a face of which the unit was coded.
        exact: (...) answers with thinking that claim what is there and no other coded unit.
        uncoded: (...) claims of units that were not coded.
        answers: (...) answers.
    """

    hits: Floats
    claimed: Floats
    present: Floats
    coded: Floats
    exact: Floats
    uncoded: Floats
    answers: Floats


class EmotionCounts(NamedTuple):
    """Counts of answered emotions and of the form of answers. The last column is every answer outside the allowed emotions.

    Attributes:
        confusion: (..., E, E + 1) label by answer, over the answers about labeled faces.
        said: (..., E + 1) answers by what they say.
        formatted: (...) answers that are well-formed.
        aligned: (...) readable answers whose emotion is a nearest prototype of the units they claim.
        readable: (...) answers with an allowed emotion and a think block.
        total: (...) answers.
    """

    confusion: Floats
    said: Floats
    formatted: Floats
    aligned: Floats
    readable: Floats
    total: Floats


Counts = TypeVar("Counts", AUCounts, EmotionCounts)


def count_aus(examples: Sequence[Example], answers: Sequence[Sequence[Answer]]) -> AUCounts:
    """Counts the Action Units that answers claim, a row a face.

    Args:
        examples: F faces; a row stays 0 where no unit was coded.
        answers: of each face, any number.
    """
    faces = len(examples)
    counts = AUCounts(*np.zeros((4, faces, NUMBERS)), *np.zeros((3, faces)))
    for face, (example, said) in enumerate(zip(examples, answers, strict=True)):
        for answer in said if example.coded else ():
            if answer.form == "only":  # nobody asked for units
                continue
            claimed = answer.aus & example.coded
            counts.hits[face, list(claimed & example.present)] += 1
            counts.claimed[face, list(claimed)] += 1
            counts.present[face, list(example.present)] += 1
            counts.coded[face, list(example.coded)] += 1
            counts.exact[face] += claimed == example.present and has_thinking(answer)
            counts.uncoded[face] += len(answer.aus - example.coded)
            counts.answers[face] += 1
    return counts


def count_emotions(
    examples: Sequence[Example], answers: Sequence[Sequence[Answer]], emotions: Sequence[str]
) -> EmotionCounts:
    """Counts the emotions that answers give, and their form, a row a face.

    Args:
        examples: F faces; a face without labels counts for the form alone. Of several labels any is right, and the first
            one was meant by a wrong answer.
        answers: of each face, any number.
        emotions: the E allowed ones, labels among them.
    """
    faces, size = len(examples), len(emotions)
    counts = EmotionCounts(np.zeros((faces, size, size + 1)), np.zeros((faces, size + 1)), *np.zeros((4, faces)))
    for face, (example, said) in enumerate(zip(examples, answers, strict=True)):
        for answer in said:
            column = emotions.index(answer.emotion) if answer.emotion in emotions else size
            counts.said[face, column] += 1
            counts.formatted[face] += answer.well_formed
            counts.total[face] += 1
            if answer.emotion in emotions and answer.think:
                counts.readable[face] += 1
                counts.aligned[face] += answer.emotion in nearest_emotions(answer.aus, emotions)
            if example.labels:
                label = answer.emotion if answer.emotion in example.labels else example.labels[0]
                counts.confusion[face, emotions.index(label), column] += 1
    return counts


def pooled(counts: Counts, times: Floats | None = None) -> Counts:
    """Sums of counts over faces.

    Args:
        counts: a row a face.
        times: (D, F) how often each face is taken in each of D sums: 0 and 1 for folds and subgroups, more in bootstrap
            draws. None for one sum of every face once, without a first axis.
    """
    if times is None:
        return type(counts)(*(np.asarray(count.sum(axis=0)) for count in counts))
    return type(counts)(*(np.tensordot(times, count, axes=1) for count in counts))


def added(sums: Sequence[Counts]) -> Counts:
    """One sum of several, such as those of all processes."""
    return type(sums[0])(*(np.asarray(sum(parts)) for parts in zip(*sums, strict=True)))


def f1(hits: Floats, claimed: Floats, present: Floats) -> Floats:
    """F1, 2 PR / (P + R) written in counts: 2 hits / (claimed + present); 0 where both are 0."""
    return 2 * hits / np.maximum(claimed + present, 1)


def recall(hits: Floats, present: Floats) -> Floats:
    """The share of what is there that is told; 0 where nothing is."""
    return hits / np.maximum(present, 1)


def macro(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """The mean over the columns that are counted; 0 if none is.

    Here the columns that occur in the labels are counted, so that what no face shows neither helps nor harms; so does the
    evaluation that Facial-R1 (arXiv 2511.10254v1) published. A fixed list of units is another `counted`.

    Args:
        values: (..., K) a number a column.
        counted: of the same shape.
    """
    mean: Floats = np.where(counted, values, 0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    return mean


def au_scores(sums: AUCounts, counted: NDArray[np.bool_] | None = None) -> dict[str, Floats]:
    """How well Action Units are named.

    Args:
        sums: of counts.
        counted: (N,) the units that means are over, which may be a protocol's fixed list; None: those that occur in the labels.

    Returns:
        (...) by name; empty if no unit was coded, NaN in those of several sums where none was.
        au_f1: macro F1, the mean over the counted units (the field's headline number).
        au_uar: unweighted average recall, the mean over the same units of their recall.
        au_micro_f1, au_precision, au_recall: over all decisions together.
        au_exact: share of answers whose claimed set is exactly the present one.
        invented: claimed units that are not there, per answer.
        uncoded: claimed units that nobody coded, per answer; not judged, but watched.
    """
    hits, claimed, present = (units.sum(axis=-1) for units in (sums.hits, sums.claimed, sums.present))
    answers = np.maximum(sums.answers, 1)
    over = sums.present > 0 if counted is None else np.broadcast_to(counted, sums.present.shape)
    numbers = {
        "au_f1": macro(f1(sums.hits, sums.claimed, sums.present), over),
        "au_uar": macro(recall(sums.hits, sums.present), over),
        "au_micro_f1": f1(hits, claimed, present),
        "au_precision": hits / np.maximum(claimed, 1),
        "au_recall": recall(hits, present),
        "au_exact": sums.exact / answers,
        "invented": (claimed - hits) / answers,
        "uncoded": sums.uncoded / answers,
    }
    return _known(numbers, sums.answers > 0)


def emotion_scores(sums: EmotionCounts, emotions: Sequence[str]) -> dict[str, Floats]:
    """How well the emotion is answered, and in which form.

    Args:
        sums: of counts.
        emotions: the names of the columns.

    Returns:
        (...) by name; those that no face speaks about are left out, and NaN in those of several sums where none does.
        accuracy: share of right answers; of several labels any is right.
        emotion_f1: macro F1 over the emotions that occur in the labels.
        emotion_uar: unweighted average recall, the mean over the same emotions of their recall.
        both_parts, one_part: where compound emotions are allowed, shares of answers with both of the two parts right, and with
            one at least ("happily surprised" for "sadly surprised").
        format: share of well-formed answers, over all faces.
        alignment: share of readable answers whose emotion is a nearest prototype of the units they claim.
        answers/WORD: share of answers that say WORD, to see a policy collapse onto one, or lose one; "other" is all but the
            emotions.
    """
    hits = np.diagonal(sums.confusion, axis1=-2, axis2=-1)
    claimed, present = sums.confusion.sum(axis=-2)[..., :-1], sums.confusion.sum(axis=-1)
    labeled, total = present.sum(axis=-1), np.maximum(sums.total, 1)
    judged = {
        "accuracy": hits.sum(axis=-1) / np.maximum(labeled, 1),
        "emotion_f1": macro(f1(hits, claimed, present), present > 0),
        "emotion_uar": macro(recall(hits, present), present > 0),
    }
    shared = np.array([[len(compound_parts(one) & compound_parts(two)) for two in emotions] for one in emotions])
    if shared.any():
        names = {"both_parts": shared == 2, "one_part": shared > 0}
        parts = sums.confusion[..., :-1]
        judged |= {n: (parts * told).sum(axis=(-2, -1)) / np.maximum(labeled, 1) for n, told in names.items()}
    form = {"format": sums.formatted / total, "alignment": sums.aligned / np.maximum(sums.readable, 1)}
    words = enumerate([*emotions, "other"])
    form |= {f"answers/{word}": sums.said[..., column] / total for column, word in words}
    return _known(judged, labeled > 0) | _known(form, sums.total > 0)


def overall(numbers: Mapping[str, float]) -> float | None:
    """The one number by which policies are ranked: the mean of the macro F1 of Action Units and of that of emotions.

    Both are means over classes. With accuracy in place of the second one a policy would win that gives up a rare emotion for a
    few more right answers of a frequent one.

    Args:
        numbers: those of `au_scores` and `emotion_scores`; what is not known of the faces is missing.

    Returns:
        In [0, 1]; of the one that is known where the other is not, None where neither is.
    """
    known = [numbers[name] for name in SCORED if name in numbers]
    return fmean(known) if known else None


def _known(numbers: Mapping[str, Floats], where: NDArray[np.bool_]) -> dict[str, Floats]:
    return {name: np.where(where, values, np.nan) for name, values in numbers.items()} if np.any(where) else {}
