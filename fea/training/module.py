"""`FEAModule`: what all stages share: the policy, its optimizer, its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from fea.data.loader import Encode, EncodeEach, Loader
from fea.data.module import FEADataModule
from fea.errors import FEAError
from fea.faces.crops import Crop
from fea.memory.advice import shown
from fea.memory.plan import settled
from fea.memory.setting import Setting, Spread
from fea.model import checkpoints, frozen, fsdp, precision
from fea.model.archive import read
from fea.model.checkpoints import Stored
from fea.model.config import PolicyConfig
from fea.model.load import check_sharded, count_tokens
from fea.model.policy import Policy
from fea.model.runs import beside
from fea.model.sampling import Generation
from fea.prompts.answer import Form
from fea.records.unknown import coded_in
from fea.system import processes
from fea.system.machine import total_memory
from fea.training import loop
from fea.training.nonfinite import FiniteGuard
from fea.training.optimization import Optimization
from fea.training.validation import Evaluated


class FEAModule(Evaluated):
    """Base of the stages.

    Args:
        policy: the model and what it is shown.
        init_from: run (folder or checkpoint) whose weights this one starts from; null: the base's own.
        generation: how answers are written.
        optimization: optimizer and learning rate.
    """

    needs_analyses = needs_pairs = uses_reference = uses_entropy = False
    group_size = minibatches = microbatches = views = 1

    def __init__(self, policy: PolicyConfig, init_from: str | None, generation: Generation, optimization: Optimization):
        super().__init__()
        self.config, self.init_from, self.generation, self.optimization = policy, init_from, generation, optimization
        self.guard = FiniteGuard(optimization.patience)
        # A checkpoint holds the trainable weights only; on_load_checkpoint compares the names.
        self.strict_loading = False

    def setup(self, stage: str) -> None:
        """Metrics, and steps that are whole wherever a checkpoint may be written.

        Raises:
            FEAError: the trainer computes in a precision that cannot be used, or training asks for other forms than validation.
        """
        precision.check(self.trainer.precision, self.trainer.strategy.root_device)
        super().setup(stage)
        if stage == "fit":
            if self.config.form not in self.config.forms:
                raise FEAError(
                    f"policy.answers: '{self.config.form}' is not among them, for which validation asks (policy.answer); add "
                    "it, or set policy.answer to one of them"
                )
            loop.keep_steps_whole(self.trainer)

    def configure_model(self) -> None:
        """Builds the policy, once all mistakes in the config have been reported."""
        if hasattr(self, "policy"):
            return
        mesh = self.device_mesh
        if mesh is not None:
            fsdp.check(mesh, self.trainer.world_size)
            check_sharded(self.config)
        with processes.together():
            # Weights that are sharded are spread from the first process; in 4 bits each needs what they are unpacked with.
            self._build(empty=mesh is not None and processes.rank() > 0 and not self.config.four_bit)
        if mesh is not None:
            self._shard(mesh)

    def _build(self, empty: bool) -> None:
        if self.config.faces != "none":
            _ = Crop(self.config.face_model).detector  # which may be missing
        checkpoints.check_adapter(self.init_from, self.config)
        start = checkpoints.weights(self.init_from)
        self.policy = Policy(self.config, start, empty)
        self.config = self.policy.config  # its layout is the one that there is
        self.inherits = not start.keys() <= self.policy.trainable().keys()
        self.frozen = "" if empty else frozen.digest(self.policy)
        self.before = checkpoints.stored(self.init_from, self.config.base) if self.init_from else None
        if self.before and self.before.policy.faces != self.config.faces:
            rank_zero_info(
                f"note: policy.faces is {self.config.faces}, and was {self.before.policy.faces} in '{self.init_from}': it has "
                "learned from other pictures than it is shown now"
            )
        self._tell_forms()

    def _tell_forms(self) -> None:
        """Says which forms of answers are new to the run whose weights this one starts from."""
        known = self.before.forms if self.before else frozenset[Form]()
        new = [form for form in self.config.forms if known and form not in known]
        if not new:
            return
        told = f"policy.answer: '{self.init_from}' has learned to answer {' and '.join(sorted(known))}, not {' or '.join(new)}"
        if self.needs_analyses:
            rank_zero_info(f"note: {told}; this stage teaches it")
        else:
            rank_zero_warn(
                f"{told}: no analysis will teach it now, and few answers may be readable; teach it first, in stage 1 with "
                "policy.answers, or ask for what was taught"
            )

    def _shard(self, mesh: DeviceMesh) -> None:
        # The first process alone has all values, and has drawn those that are random.
        self.frozen, drawn = processes.gathered((self.frozen, torch.get_rng_state()))[0]
        torch.set_rng_state(drawn)
        low_precision = self.trainer.precision == "bf16-mixed"
        self.policy.shard(mesh["data_parallel"], low_precision, self.own_setting().gathers)

    def own_setting(self) -> Setting:
        """What decides how much memory each process of this fit needs, on the card that it has."""
        spread = Spread.of(self.trainer.strategy, self.trainer.world_size)
        return settled(self.memory_setting(self.data, self.trainer, spread), total_memory())

    def memory_setting(self, data: FEADataModule, trainer: Any, spread: Spread) -> Setting:
        """What decides how much memory training needs.

        Args:
            data: with the sizes of its batches.
            trainer: the trainer, or its settings, for another machine.
            spread: over processes.
        """
        return Setting(
            policy=self.config,
            batch_size=data.batch_size,
            packs=self.packs(trainer.accumulate_grad_batches),
            minibatches=self.minibatches,
            group_size=self.group_size,
            microbatches=self.microbatches,
            max_tokens=self.generation.max_tokens,
            analysis=self._longest_target(data) if self.needs_analyses else 0,
            eval_batch_size=0 if trainer.limit_val_batches == 0 else data.eval_batch_size,
            reference=self.uses_reference,
            entropy=self.uses_entropy,
            eight_bit=self.optimization.eight_bit,
            precision=str(trainer.precision),
            spread=spread,
            views=self.views,
        )

    def _longest_target(self, data: FEADataModule) -> int:
        """Tokens of the longest analysis and its end; 0 if the data are not there yet."""
        text = data.longest_analysis()
        return count_tokens(self.config, text) + 1 if text else 0

    def packs(self, accumulate: int) -> int:
        """Into how many packs a batch is split."""
        return 1

    def on_fit_start(self) -> None:
        """Says how the numbers are computed; the reference policy is the one that this fit starts from."""
        if self.uses_reference and not self.policy.has_reference:
            self.policy.keep_reference()
        rank_zero_info(f"layout: {self.config.layout}")
        if self.device.type == "cuda":
            rank_zero_info(shown(self.own_setting()))

    # --- prompts ---

    def limit_images(self, pixels: int) -> None:
        """Keeps images with more pixels from being read."""
        self.policy.encoder.max_image_pixels = pixels

    @property
    def encode(self) -> Encode | EncodeEach:
        """Makes prompts for an answer. Not a method: each loader worker would be handed the module, with all weights."""
        return self.policy.encoder

    @property
    def encode_training(self) -> Encode | EncodeEach:
        """Makes prompts for training."""
        return self.policy.encoder

    @property
    def forms(self) -> Mapping[Form, float] | None:
        """Forms of answers that prompts for training ask for, in these proportions; None: that of the policy."""
        return self.config.answers

    def train_loader(self, prompts: Loader) -> Any:
        """What training iterates over: the prompts, or what a stage makes of them."""
        return prompts

    # --- optimizer ---

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the trainable weights, its rate a function of the step; an adapter on what sees has its own."""
        weights = [p for p in self.parameters() if p.requires_grad]
        vision = self.config.lora.vision if self.config.lora else None
        optimizer = self.optimization.optimizer(weights, self.policy.vision_adapter(), vision.lr if vision else None)
        schedule = self.optimization.schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Remembers what the coming step is made of; the first of its batches finds no gradients."""
        self.guard.batches.append(batch)
        if index % self.trainer.accumulate_grad_batches == 0:
            cast(torch.optim.Optimizer, self.optimizers()).zero_grad()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing: between training step and backward pass, parts of a batch have added to the gradients already."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the gradient's norm; a gradient that is not finite costs the step and nothing else."""
        gradients = [p.grad for p in self.policy.trainable().values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self.log("train/grad_norm", norm)
        if not self.guard.passes(norm, self.global_step, Path(self.trainer.log_dir or ".")):
            self.skip_step()
        self.log("train/skipped", float(self.guard.skipped))

    def skip_step(self) -> None:
        """Makes the coming optimizer step do nothing: with zeros Adam would still move by its momentum."""
        for parameter in self.policy.trainable().values():
            parameter.grad = None

    # --- checkpoints ---

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The trainable weights."""
        kept = {f"policy.{name}" for name in self.policy.trainable()}
        return {name: weight for name, weight in super().state_dict(*args, **kwargs).items() if name in kept}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is needed to build the policy again.

        Raises:
            FEAError: it could not be gone on from: gradients are accumulated, and a checkpoint does not hold them.
        """
        if "optimizer_states" in checkpoint and loop.inside_step(self.trainer):
            raise FEAError(
                f"no checkpoint can be written inside optimizer step {self.global_step}: its gradients would be lost; save "
                "where trainer.global_step has changed, in on_train_batch_end"
            )
        checkpoint["fea"] = self.stored().plain()

    def stored(self) -> Stored:
        """What a checkpoint says of this fit, called on all processes."""
        folder = Path(self.trainer.log_dir or ".")
        occurring = [found for table in self.data.tables.get("train", []) for found in table.summary.occurring.items()]
        coded = frozenset[int]().union(*(coded_in(*found) for found in occurring))
        before = self.before
        return Stored(
            policy=self.config,
            emotions=self.data.all_emotions,
            datasets=frozenset(name for name, _ in occurring) | (before.datasets if before else frozenset()),
            stage=type(self).__name__,
            init_from=self.init_from,
            inherits=self.inherits,
            skipped=self.guard.skipped,
            frozen=self.frozen,
            precision=str(self.trainer.precision),
            # An earlier run that does not say which units it learned may have learned any.
            coded=coded if before is None else (before.coded and before.coded | coded),
            forms=frozenset(self.config.forms) | (before.forms if before else frozenset()),
            reference=self.policy.reference_weights,
            near={"base": beside(folder, self.config.base), "init_from": beside(folder, self.init_from)},
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another model."""
        told = Stored.of(checkpoint)
        if told.stage != type(self).__name__ and self.trainer.state.fn == "fit":
            raise FEAError(
                f"ckpt_path: the checkpoint is one of {told.stage} and cannot be resumed by {type(self).__name__}; to start "
                "from its weights, name it as model.init_from"
            )
        if told.policy.faces != self.config.faces and self.trainer.state.fn == "fit":
            raise FEAError(
                f"policy.faces: {self.config.faces}, but the run was shown {told.policy.faces} so far; leave it as it was, or "
                "start another run from its weights (model.init_from)"
            )
        # Sharded weights are put in place before this is called, and are then no longer in it.
        held = checkpoint.get("state_dict") or read(Path(str(self.trainer.ckpt_path)))["state_dict"]
        frozen.check(told.frozen, self.frozen, self.config.base)
        checkpoints.check_names(held, {f"policy.{name}": weight for name, weight in self.policy.trainable().items()})
        self.guard.skipped = told.skipped
        self.policy.reference_weights = dict(told.reference)
