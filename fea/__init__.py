"""Train vision-language models for Facial Emotion Analysis: Action Units, reasoning, emotion.

    import fea

    analyzer = fea.load("runs/grpo")
    for result in analyzer.analyze(["a.jpg", "b.jpg"]):
        print(result.image, result.aus, result.emotion)

A name is looked up in its module when it is first asked for, so `import fea` loads nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "EMPOModule",
    "Example",
    "FEADataModule",
    "FEAError",
    "GRPOModule",
    "RenderedFaces",
    "RewardCallback",
    "RolloutCallback",
    "SFTModule",
    "__version__",
    "load",
    "parse",
    "render",
]

if TYPE_CHECKING:
    from fea.analysis.analyzer import load
    from fea.data.example import Example
    from fea.data.module import FEADataModule
    from fea.drawn.module import RenderedFaces
    from fea.errors import FEAError
    from fea.grpo import GRPOModule
    from fea.preference import EMPOModule
    from fea.prompts.answer import Answer, parse, render
    from fea.rewards import RewardCallback
    from fea.rollouts.loader import RolloutCallback
    from fea.sft import SFTModule
else:
    _MODULES = {
        "Answer": "fea.prompts.answer",
        "EMPOModule": "fea.preference",
        "Example": "fea.data.example",
        "FEADataModule": "fea.data.module",
        "FEAError": "fea.errors",
        "GRPOModule": "fea.grpo",
        "RenderedFaces": "fea.drawn.module",
        "RewardCallback": "fea.rewards",
        "RolloutCallback": "fea.rollouts.loader",
        "SFTModule": "fea.sft",
        "load": "fea.analysis.analyzer",
        "parse": "fea.prompts.answer",
        "render": "fea.prompts.answer",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module 'fea' has no attribute '{name}'")
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)

    def __dir__():
        return sorted({*globals(), *__all__})
