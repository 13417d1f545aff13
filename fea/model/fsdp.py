"""FSDP2: weights, gradients and optimizer sharded over all processes, as `trainer.strategy: fsdp2`.

Outside a forward pass every process holds its shard of each parameter. Processes write completions of different lengths, so a
rollout gathers all weights once, and each process goes its own way; where they do not fit, all go on together, token by token,
until the last has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from fea.errors import FEAError
from fea.system import processes

Gather = Literal["auto", "always", "never"]


class FSDP2Strategy(ModelParallelStrategy):
    """Data parallelism over sharded weights.

    By itself its base would choose tensor parallelism within a node: every process would see the same data, and no gradient
    would be shared.

    Args:
        gather: hold all weights during a rollout: "auto" if the memory plan says that they fit, "always", or "never".
        save_distributed_checkpoint: a folder with the parts of all processes instead of one file.
        options: those of `ModelParallelStrategy`.
    """

    def __init__(self, gather: Gather = "auto", save_distributed_checkpoint: bool = False, **options: Any):
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint, **options)
        self.gather = gather

    def setup_environment(self) -> None:
        """Makes every process a data-parallel one."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="FSDP2 over all processes")


def check(mesh: DeviceMesh, processes: int) -> None:
    """Refuses a mesh in which processes would train by themselves.

    Raises:
        FEAError: not every process is a data-parallel one.
    """
    sharing = mesh["data_parallel"].size()
    if sharing != processes:
        raise FEAError(
            f"trainer.strategy: {sharing} of {processes} processes would share data and gradients, the others would repeat "
            "their work and drift apart; use strategy: fsdp2"
        )


def shard(
    root: nn.Module, blocks: Iterable[nn.Module], entries: Iterable[str], mesh: DeviceMesh, low_precision: bool
) -> None:
    """Shards a module block by block. Processes that hold it empty, on the device "meta", are given the weights of the first.

    So a process whose module is empty never holds more than its shards and the whole of one block.

    Args:
        root: the module; what lies outside the blocks is sharded as one.
        blocks: parts that are gathered one at a time.
        entries: methods of the root that are called instead of its forward.
        mesh: the processes.
        low_precision: gather and compute in bf16; gradients are summed, and weights kept, as they are.
    """
    # Inputs are not cast: the uniform numbers that choose tokens would lose all but 8 bits.
    low = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    precision = low if low_precision else MixedPrecisionPolicy()
    some_empty = any(processes.gathered(next(root.parameters()).is_meta))
    if some_empty:
        _tie_as_first(root)
    for part in (*blocks, root):
        if some_empty:
            _spread(part, mesh.device_type)
        fully_shard(part, mesh=mesh, mp_policy=precision)
    for entry in entries:
        register_fsdp_forward_method(root, entry)


def _tie_as_first(root: nn.Module) -> None:
    """Ties the weights that are tied in the first process: to read whether two in a file are equal takes their values."""
    first: dict[Tensor, str] = {}
    names = {name: first.setdefault(weight, name) for name, weight in root.named_parameters(remove_duplicate=False)}
    for name, source in processes.gathered(names)[0].items():
        if name != source:
            owner, _, own = name.rpartition(".")
            setattr(root.get_submodule(owner), own, root.get_parameter(source))


def _spread(part: nn.Module, device: str) -> None:
    """Gives what is not sharded of a part the values that it has in the first process, buffers included."""
    for tensor in (*part.parameters(), *part.buffers()):
        if isinstance(tensor, DTensor):
            continue
        empty = tensor.is_meta
        whole = torch.empty_like(tensor, device=device) if empty else tensor.detach().to(device).contiguous()
        dist.broadcast(whole, 0)
        if empty:
            # Stays one object for all modules that share it; `whole` itself may still be held by what received it.
            new = nn.Parameter(whole, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else whole.detach()
            torch.utils.swap_tensors(tensor, new)
        else:
            tensor.data = whole


@contextmanager
def sampling(root: nn.Module, gathers: bool) -> Iterator[Callable[[bool], bool]]:
    """No gradients inside; for a sharded module, gets the processes ready to write completions of different lengths.

    Args:
        root: the module.
        gathers: hold all weights inside.

    Yields:
        How a process finds out whether something holds in any of those that it has to keep in step with.
    """
    parts = [module for module in root.modules() if isinstance(module, FSDPModule)]
    if parts and not gathers:
        with torch.no_grad():  # weights gathered in inference mode would be of no use to training
            yield partial(_in_any, device=next(root.parameters()).device)
        return
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    # A tenth faster than without gradients alone, but autocast would cast all trained weights anew for each token.
    quiet = torch.no_grad if torch.is_autocast_enabled(next(root.parameters()).device.type) else torch.inference_mode
    try:
        with quiet():
            yield bool
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def _in_any(value: bool, device: torch.device) -> bool:
    """Whether something holds in any process; all have to ask together."""
    flag = torch.tensor(float(value), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def reshard(root: nn.Module) -> None:
    """Lets go of gathered weights: what is written into them would be lost."""
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def own_part(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter: its shard, or all of it where nothing is sharded."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def whole(part: Tensor, like: Tensor) -> Tensor:
    """The whole of a parameter, in host memory, from the parts of all processes; these have to call it together.

    Args:
        part: of this process.
        like: the parameter, which knows how it is sharded.
    """
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part.to(like.device), like.device_mesh, like.placements).full_tensor().cpu()


def is_zero(weight: Tensor) -> bool:
    """Whether there is nothing but zeros in a parameter; processes that share it have to ask together."""
    size = weight.detach().abs().sum()
    return not bool(size.full_tensor() if isinstance(size, DTensor) else size)


def exchange(parameter: Tensor, part: Tensor) -> Tensor:
    """Gives what this process holds of a parameter other values.

    Args:
        parameter: whose gathered weights have been let go of.
        part: the values; they belong to the parameter from now on.

    Returns:
        The values that it had, on the device of the others.
    """
    own = own_part(parameter)
    if own is parameter and part.device == own.device:
        present, parameter.data = parameter.data, part  # nothing is copied
        return present
    present = own.detach().to(part.device, copy=True)
    own.copy_(part)
    return present


def part_of(weight: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole weight, in host memory: the inverse of `whole`.

    Args:
        weight: the whole of it.
        like: the parameter, which knows how it is sharded.
    """
    if not isinstance(like, DTensor):
        return weight
    with torch.no_grad():
        return distribute_tensor(weight.to(like.device), like.device_mesh, like.placements).to_local().cpu()
