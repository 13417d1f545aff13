"""One side of `test_trl.py`: GRPO steps with TRL or with fea, in a process of its own, so that its peak memory is its own.

python tests/benchmarks/grpo_step.py trl|fea CASE FOLDER    (prints one line of JSON at the end)

A step is: encode one prompt, sample G completions of C tokens, score them at random, log-probabilities under the reference,
loss with a KL term, backward pass, clipped AdamW step. The vision tower is frozen, everything else is trained, all in fp32.
"""

from __future__ import annotations

import json
import random
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from grpo_case import ADAMW, BETA, CLIP, MAX_NORM, MEASURED, SHOWN, WARM_UP, Case, Clock, examples, memory, result
from PIL import Image
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    TrainerCallback,
)
from transformers.processing_utils import ProcessorMixin

from fea.advantages import sum_then_normalize, token_advantages
from fea.losses import token_weights
from fea.model.config import PolicyConfig
from fea.model.policy import Policy
from fea.model.sampling import Completions, Generation, noise
from fea.prompts.prompt import system_prompt, user_prompt
from fea.rollouts.buffer import Pack
from fea.rollouts.rollout import Rollout, logps_of
from fea.training.microbatches import learn
from fea.training.objective import Objective
from fea.training.terms import terms

GOAL = Objective(beta=BETA, clip_low=CLIP, clip_high=CLIP, clip_dual=None, cap=None)

# --- fea ---


def fea_policy(case: Case, folder: Path) -> Policy:
    """A policy that never ends a completion early."""
    policy = Policy(PolicyConfig(base=str(folder / "model"), layout=case.layout, **SHOWN), {})
    policy.network.ends = [-1]
    return policy


def fea_side(case: Case, folder: Path) -> dict[str, Any]:
    """Steps as `GRPOModule` takes them, by hand."""
    import fea.grpo  # noqa: F401 (a run has Lightning in memory)

    policy = fea_policy(case, folder)
    policy.keep_reference()
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], **ADAMW)
    built, clock, prompt_ids, tokens = memory("VmRSS"), Clock(), [], []
    for number, example in enumerate(examples(folder)):
        with clock("whole"):
            policy.eval()
            with clock("rollout"):
                prompts = policy.look([policy.encoder(example)])
                chance = noise([example.id], case.group, case.completion, 0, number)
                ids, mask, sampled, truncated, texts = policy.rollout(
                    prompts, case.group, Generation(case.completion), chance
                )
            rewards = torch.tensor([random.random() for _ in range(case.group)]).view(1, -1, 1)
            spans = torch.tensor([0, case.completion]).expand(case.group, 1, 2)
            advantages = token_advantages(sum_then_normalize(rewards, torch.ones(1)).view(-1, 1), spans, mask)
            weights = token_weights(mask.float(), "grpo", case.group, int(mask.sum()), case.completion)
            rollout = Rollout(prompts, case.group, Completions(ids, mask, sampled, truncated, texts), [])
            with clock("reference"), policy.reference():
                reference = logps_of(policy, rollout, [[0]], 1.0, case.microbatches)
            policy.train()
            with clock("update"):
                pack = Pack(prompts, ids, mask, advantages, weights, sampled, None, reference, True, {}, [])
                learned = learn(policy, pack, case.microbatches, partial(terms, GOAL), 1.0, entropy=False)
                learned.joined(terms(GOAL, learned.logps, learned.entropies, pack).loss).backward()
                torch.nn.utils.clip_grad_norm_(policy.parameters(), MAX_NORM)
                optimizer.step()
                optimizer.zero_grad()
        prompt_ids.append(prompts[0].ids.tolist())
        tokens.append(int(mask.sum()))
    settings = {"layout": case.layout, "optimizer": "torch.optim.AdamW", **ADAMW, "max_norm": MAX_NORM, "beta": BETA}
    settings["microbatches"] = case.microbatches
    return result(policy.model, clock, built, prompt_ids, tokens, settings | {"threads": torch.get_num_threads()})


# --- TRL ---


class ImageOnlyProcessor(Qwen2_5_VLProcessor):
    """Without torchvision there is no video processor, and the stock class cannot be built without one."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def trl_settings(case: Case, forbidden: list[int]) -> dict[str, Any]:
    """All that differs from TRL's defaults, or matters: its fastest way to take the same step on a CPU."""
    settings: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "use_vllm": False}
    at_once = case.at_once or case.group
    settings |= {"num_generations": case.group, "num_iterations": 1, "per_device_train_batch_size": at_once}
    settings |= dict.fromkeys(("gradient_accumulation_steps", "steps_per_generation"), case.group // at_once)
    settings |= {"max_completion_length": case.completion, "temperature": 1.0, "top_k": 0}
    # Completions of exactly this length; fea never samples vision tokens either.
    settings["generation_kwargs"] = {"min_new_tokens": case.completion, "suppress_tokens": forbidden}
    settings |= {"beta": BETA, "epsilon": CLIP, "loss_type": "grpo", "max_grad_norm": MAX_NORM}
    settings |= {"optim": "adamw_torch_fused", "learning_rate": ADAMW["lr"], "lr_scheduler_type": "constant"}
    settings |= {"adam_beta1": ADAMW["betas"][0], "adam_beta2": ADAMW["betas"][1], "adam_epsilon": ADAMW["eps"]}
    settings |= {"weight_decay": ADAMW["weight_decay"], "max_steps": WARM_UP + MEASURED, "shuffle_dataset": False}
    settings |= {"logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    return settings | {"dataloader_pin_memory": False, "seed": 0}


def trl_rows(folder: Path) -> list[dict[str, Any]]:
    """The prompts as TRL wants them."""
    return [
        {
            "prompt": [
                {"role": "system", "content": system_prompt("brief")},
                {"role": "user", "content": user_prompt(example.question, example.emotions)},
            ],
            "image": Image.open(example.image),
        }
        for example in examples(folder)
    ]


def trl_trainer(case: Case, folder: Path, clock: Clock) -> Any:
    """TRL's trainer with a clock in it; `told` holds prompt ids and the number of completion tokens of each rollout."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    class Trainer(GRPOTrainer):
        told: list[tuple[list[int], int]]

        def _prepare_inputs(self, batch: Any) -> Any:
            with clock("prepared"):
                return super()._prepare_inputs(batch)

        def _generate(self, prompts: list[Any]) -> Any:
            with clock("rollout"):
                output = super()._generate(prompts)
            self.told.append((output[0][0], sum(map(len, output[1]))))
            return output

        def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
            with clock("reference") if model is self.ref_model else nullcontext():
                return super()._get_per_token_logps_and_entropies(model, *args, **options)

    class Whole(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.step = clock("whole")
            self.step.__enter__()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.step.__exit__(None, None, None)

    def reward(completions: list[Any], **_: Any) -> list[float]:
        return [random.random() for _ in completions]

    saved = folder / "model"  # from here TRL loads the reference, too
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(saved, dtype=torch.float32, attn_implementation="sdpa")
    model.model.visual.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    images = Qwen2VLImageProcessorPil.from_pretrained(saved)
    vision = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    trainer = Trainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(str(folder / "trl"), **trl_settings(case, [getattr(model.config, name) for name in vision])),
        train_dataset=Dataset.from_list(trl_rows(folder)),
        processing_class=ImageOnlyProcessor(images, tokenizer, tokenizer.chat_template),
        callbacks=[Whole()],
    )
    trainer.told = []
    return trainer


def trl_side(case: Case, folder: Path) -> dict[str, Any]:
    """Steps of `GRPOTrainer.train`."""
    clock = Clock()
    trainer = trl_trainer(case, folder, clock)
    built = memory("VmRSS")
    trainer.train()
    # What is left of a step: forward and backward pass, clipping, optimizer.
    parts, prepared = trainer.args.gradient_accumulation_steps, clock.seconds.pop("prepared")
    starts = range(0, len(prepared), parts)
    steps = zip(clock.seconds["whole"], starts, strict=True)
    clock.seconds["update"] = [whole - sum(prepared[start : start + parts]) for whole, start in steps]
    prompt_ids, tokens = zip(*trainer.told, strict=True)
    settings = trl_settings(case, trainer.args.generation_kwargs["suppress_tokens"])
    settings |= {"attn_implementation": "sdpa", "threads": torch.get_num_threads()}
    return result(trainer.model, clock, built, list(prompt_ids), list(tokens), settings)


def main() -> None:
    """Runs a side and prints its numbers."""
    side, case, folder = sys.argv[1:]
    random.seed(0)
    run = {"trl": trl_side, "fea": fea_side}[side]
    print(json.dumps(run(Case(**json.loads(case)), Path(folder))))


if __name__ == "__main__":
    main()
