"""Rewards and observers. One callback, one file; `class_path: fea.callbacks.NAME` in a config."""

if __name__ != "fea.callbacks":
    raise ImportError(f"import this package as fea.callbacks, not as {__name__}")

from fea.callbacks.answer_writer import AnswerWriter
from fea.callbacks.au_reward import AUReward
from fea.callbacks.ccc_reward import CCCReward
from fea.callbacks.consistency import Consistency
from fea.callbacks.consistency_reward import ConsistencyReward
from fea.callbacks.crps_reward import CRPSReward
from fea.callbacks.dimension_reward import DimensionReward
from fea.callbacks.emotion_reward import EmotionReward
from fea.callbacks.format_reward import FormatReward
from fea.callbacks.intensity_reward import IntensityReward
from fea.callbacks.judge_reward import JudgeReward
from fea.callbacks.macro_f1_reward import MacroF1Reward
from fea.callbacks.overlong_penalty import OverlongPenalty
from fea.callbacks.reward_gap import RewardGap
from fea.callbacks.sample_table import SampleTable
from fea.callbacks.self_check import SelfCheck
from fea.callbacks.synthesis import Synthesis
from fea.callbacks.watch import Watch

__all__ = [
    "AUReward",
    "AnswerWriter",
    "CCCReward",
    "CRPSReward",
    "Consistency",
    "ConsistencyReward",
    "DimensionReward",
    "EmotionReward",
    "FormatReward",
    "IntensityReward",
    "JudgeReward",
    "MacroF1Reward",
    "OverlongPenalty",
    "RewardGap",
    "SampleTable",
    "SelfCheck",
    "Synthesis",
    "Watch",
]
