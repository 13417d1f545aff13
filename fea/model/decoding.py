"""One rollout under way: prompts are read once, then every completion grows token by token.

Keys and values of what completions share are never copied for each (`fea.model.cache`): the knowledge that all prompts
begin with is there once, each prompt once, and only what a completion wrote belongs to it alone.

A row of the model writes one completion. Rows whose completions are finished are dropped now and then:

    completion      0  1  2  3  4  5         at first every completion is the row of its number
    finished        -  x  -  x  x  -         three of six: worth dropping
    completion_R    0  2  5                  R = 3 rows are left; what they write goes to completions 0, 2 and 5

Shapes in names: B prompts, G completions of each, N = B * G, T tokens of a completion, R rows in the model, D its width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fea.data.prompt import Prompt
from fea.logprobs import as_computed, log_distribution, logits
from fea.model.attention import TreeAttention
from fea.model.cache import StepAttention, Trunk
from fea.model.layout import trunk_of
from fea.model.network import Network
from fea.model.reading import read_prompts
from fea.model.recorded import Record, Recorded
from fea.model.sampling import Completions, Generation, Heard, choose, widest

# Share of finished rows from which on they are dropped. Until then they are computed for nothing, but each drop copies what
# all others wrote. With a quarter at a time a rollout of N rows copies at most 3/4 N + (3/4)^2 N + ... = 3 N of them.
_FINISHED = 0.25


class Pace(NamedTuple):
    """How long the shapes of a step stay as they are.

    Attributes:
        asked: tokens between two looks at who has finished; a look waits for the device.
        stretch: own tokens by which those that a row looks at grow.
        rows: finished rows are dropped down to a multiple of so many.
    """

    asked: int
    stretch: int
    rows: int


# A CPU is done with each token before the next: nothing is gained by asking later, or by looking at tokens that are not there.
# A GPU is ahead by the launches of a step, which are recorded anew for each shape (0.2 s, as much as 15 steps). Eight tokens
# too many are 3 % of 256, which is also as far as most analyses go; rows in eights are what its matrix units take.
_CPU, _GPU = Pace(asked=1, stretch=1, rows=1), Pace(asked=8, stretch=256, rows=8)


class Decoding:
    """The state between two tokens. `Policy.rollout` is its public face and documents the arguments.

    Args:
        record: makes one launch of a step; None where that is not possible.
        pace: how long shapes stay; None: what suits the device.
    """

    def __init__(
        self,
        network: Network,
        prompts: Sequence[Prompt],
        group: int,
        generation: Generation,
        noise_NT: Tensor | None,
        trunk: Trunk,
        record: Record | None = None,
        pace: Pace | None = None,
    ):
        self.network, self.generation, self.record = network, generation, record
        device = network.device
        self.pace = pace or (_GPU if device.type == "cuda" else _CPU)
        completions, length = len(prompts) * group, generation.max_tokens
        # Where there are no numbers of 64 bits (Apple's GPUs), rare tokens are chosen as exactly as 32 allow.
        self.noise_NT = None if noise_NT is None else noise_NT.to(device, widest(device))
        self.ends = torch.tensor(network.ends, device=device)
        self.head_VD = as_computed(network.head.weight)  # once, and not for each token
        after_B = torch.tensor([int(p.positions.max()) + 1 for p in prompts], device=device)
        self.place_1 = torch.zeros(1, dtype=torch.long, device=device)  # of the token that was written last
        hidden_BD, read = self._read(prompts, trunk)
        prompt_N = torch.arange(len(prompts), device=device).repeat_interleave(group)
        # By row of the model; there are fewer of them as completions end.
        self.hidden_RD = hidden_BD.repeat_interleave(group, dim=0)
        self.start_R = after_B.repeat_interleave(group)  # position of the first token
        self.completion_R = torch.arange(completions, device=device)
        self.finished_R = torch.zeros(completions, dtype=torch.bool, device=device)
        self.attention = StepAttention(read, prompt_N, length, self.pace.stretch, self.place_1)
        # By completion.
        self.ids_NT = torch.zeros(completions, length, dtype=torch.long, device=device)
        self.mask_NT = torch.zeros_like(self.ids_NT)
        self.logps_NT = torch.zeros(completions, length, device=device)

    def _read(self, prompts: Sequence[Prompt], trunk: Trunk) -> tuple[Tensor, TreeAttention]:
        """Reads the prompts: the last hidden state of each, (B, D), and keys and values of all."""
        known = trunk.layers if trunk.begins(prompts) else ()
        shared = trunk.length if known else trunk_of(prompts, self.network.image_token)
        ends_BD, read = read_prompts(self.network, prompts, shared, known)
        trunk.fill(prompts[0].ids[:shared], read)
        return ends_BD, read

    def run(self, anyone: Callable[[bool], bool], heard: Heard | None = None) -> None:
        """Writes until every completion has its end or is full.

        Args:
            anyone: whether this holds in any of the processes that read each token together.
            heard: is told what is there at every look at who has finished.
        """
        # Not an attribute: each would hold the other, and with it all keys and values.
        step = Recorded(self._step, self.record)
        self._choose()
        for written in range(1, self.generation.max_tokens):
            if written % self.pace.asked == 0:
                if heard:
                    heard(self.ids_NT, self.mask_NT)
                if not anyone(not bool(self.finished_R.all())):
                    break
                if self._drop_finished(written):
                    step.forget()
            if self.attention.grows(written - 1):
                step.forget()
            step()

    def _step(self) -> None:
        """One token more. The same operations on the same memory each time, without waiting for the device."""
        self._read_token()
        self.place_1 += 1
        self._choose()

    def _choose(self) -> None:
        """Writes one token a row. A finished row writes nothing, and what is chosen for it is lost."""
        network, place = self.network, (self.completion_R, self.place_1)
        running_R = ~self.finished_R
        logits_RV = logits(self.hidden_RD, self.head_VD)
        log_p_RV = log_distribution(logits_RV, network.forbidden, self.generation.temperature)
        chosen_R = choose(log_p_RV, None if self.noise_NT is None else self.noise_NT[place])
        self.ids_NT[place] = chosen_R * running_R
        self.mask_NT[place] = running_R.long()
        self.logps_NT[place] = log_p_RV.gather(-1, chosen_R[:, None])[:, 0] * running_R
        self.finished_R |= torch.isin(chosen_R, self.ends)

    def _read_token(self) -> None:
        """Reads what each row has just written; for the model the R tokens are one row of R, at positions of their own."""
        embeddings_1RD = self.network.embed(self.ids_NT[self.completion_R, self.place_1][None])
        positions_31R = self.start_R.add(self.place_1).expand(3, 1, -1)
        self.attention.see()
        self.hidden_RD = self.network.attend(embeddings_1RD, positions_31R, self.attention)[0]

    def _drop_finished(self, written: int) -> bool:
        """Takes finished rows out of the model when they are many; whether any are."""
        rows, running = len(self.finished_R), int((~self.finished_R).sum())
        # One has to stay while other processes write: they wait for this one at each token.
        left = -(-max(running, 1) // self.pace.rows) * self.pace.rows
        if left > (1 - _FINISHED) * rows:
            return False
        stay = self.finished_R.sort(stable=True).indices[:left].sort().values
        self.attention.keep(stay, written - 1)
        self.completion_R = self.completion_R[stay]
        self.finished_R = self.finished_R[stay]
        self.start_R = self.start_R[stay]
        return True

    def completions(self) -> Completions:
        """What was written, cut to the longest completion, and the texts of it."""
        return self.network.told(self.ids_NT, self.mask_NT, self.logps_NT)
