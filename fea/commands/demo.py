"""`fea demo`: the whole method on a laptop, from drawn faces to a report.

    faces -> base -> stage 1 (SFT) -> stage 2 (GRPO) -> stage 3 (synthesis) -> stage 1 ...
                                                -> a table of all stages on the same held-out faces

Every stage is a `fea fit` that could be typed, and is printed; the rounds are those of `fea iterate`. The
base stands in for pretraining: a vision tower that has learned to tell sixteen movements apart, and a language model that names
them in plain words. It has met no emotion, no code of an Action Unit and no answer block. It is made once and kept.
"""

from __future__ import annotations

from pathlib import Path

from fea.errors import FEAError


def demo(
    out: Path = Path("runs/demo"),
    seed: int = 0,
    rounds: int = 1,
    quick: bool = False,
    controls: bool = False,
    skew: bool = False,
    family: str = "qwen2_5_vl",
) -> int:
    """Teaches a tiny model to read drawn faces: all stages, a table of their scores, and `report.html`.

    Args:
        out: folder of runs, faces and report; the base model in it is made once and kept. A demo that was stopped goes on.
        seed: of the training faces, their order and the sampling; the base and the held-out faces stay the same.
        rounds: of SFT, GRPO and synthesis; with more than one, each has fewer analyses and fewer rollouts.
        quick: everything in little, to see that it runs.
        controls: also what the gain has to be compared with: SFT continued for as long as all later stages take, SFT on as many
            analyses of the annotator as the last SFT has seen, SFT on true analyses, and the annotator.
        skew: draw faces whose labels are as skewed as real ones, of 100 people, with some wrong labels among those to learn
            from; the held-out faces are of other people, from the same world, and rightly labeled.
        family: of the tiny model: qwen2_5_vl, qwen2_vl or qwen3_vl; what is made of another than the first has a folder of its
            own in `out`.

    Returns:
        0.

    Raises:
        FEAError: rounds is less than 1, the family is none, a stage failed, which has said why, or `out` holds files of
            something else.
    """
    from fea.demo.board import Entry, annotator_entry, answered, faces_of, write_board
    from fea.demo.stages import SKEWED, Demo, budget_of, family_of, title_of
    from fea.drawn.world import WorldSettings
    from fea.iterate import PAGE, check_places
    from fea.model.families.known import TINY
    from fea.model.runs import RESULT
    from fea.system.files import write_atomically

    if rounds < 1:
        raise FEAError(f"rounds: {rounds}; give at least 1")
    name = f"{'skew' if skew else 'seed'}-{seed}" if rounds == 1 else f"{'skew-' * skew}loop-{seed}"
    kind, budget = family_of(family), budget_of(rounds, quick, skew)
    folder = out if kind is TINY else out / family
    stages = Demo(folder / "quick" if quick else folder, name, seed, budget, SKEWED if skew else WorldSettings(), kind)
    check_places(stages.out / RESULT, stages.loop.out / PAGE)
    stages.base()
    runs = [run for number in range(1, rounds + 1) for run in stages.loop.round(number)]
    write_atomically(stages.out / RESULT, f"{stages.loop.out.name}/{runs[-1]}\n".encode())
    own = stages.loop.out.name
    named = {"base": "base/captions", **{title_of(run): f"{own}/{run}" for run in runs}}
    if controls:
        named |= stages.controls(runs)

    data = stages.faces()
    faces = faces_of(data.draw("test"))
    entries = [Entry(title, *answered(stages.out / run, faces)) for title, run in named.items()]
    entries += [annotator_entry(faces)] if controls else []
    write_board(stages.loop.out, faces, entries, runs, stages.loop.commands, data.world)
    return 0
