"""FSDP2: weights, gradients and optimiser sharded over all processes, as `trainer.strategy: fsdp2`.

Outside a forward pass every process holds its shard of each parameter. A rollout gathers them once, since the processes write
completions of different lengths and cannot meet at every token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


class FSDP2Strategy(ModelParallelStrategy):
    """Data parallelism over sharded weights.

    By itself its base would choose tensor parallelism within a node: every process would see the same data, and no gradient
    would be shared.
    """

    def __init__(self, save_distributed_checkpoint: bool = False, **options: Any):
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=save_distributed_checkpoint, **options)

    def setup_environment(self) -> None:
        """Makes every process a data-parallel one."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="FSDP2 over all processes")


def shard(root: nn.Module, blocks: Iterable[nn.Module], entries: Iterable[str], mesh: DeviceMesh) -> None:
    """Shards a module block by block.

    Args:
        root: the module; what lies outside the blocks is sharded as one.
        blocks: parts that are gathered one at a time.
        entries: methods of the root that are called instead of its forward.
        mesh: the processes.
    """
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(root, mesh=mesh)
    for entry in entries:
        register_fsdp_forward_method(root, entry)


@contextmanager
def gathered(root: nn.Module) -> Iterator[None]:
    """Inside, every process holds all weights; does nothing for a module that is not sharded."""
    parts = [module for module in root.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def reshard(root: nn.Module) -> None:
    """Lets go of gathered weights: what is written into them would be lost."""
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def own_part(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def whole(part: Tensor, like: Tensor) -> Tensor:
    """The whole of a parameter from the parts of all processes."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part.to(like.device), like.device_mesh, like.placements).full_tensor().cpu()


def part_of(weight: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole weight."""
    if not isinstance(like, DTensor):
        return weight
    with torch.no_grad():
        return distribute_tensor(weight.to(like.device), like.device_mesh, like.placements).to_local().cpu()
