"""A card or a rehearsal, the models, and the table at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from score_offsets import stir_adapter

from fea.data.example import Example
from fea.data.prompt import Prompt
from fea.model.config import LayoutName, LoRA, PolicyConfig
from fea.model.policy import Policy

from .bases import Bases
from .checks import EXPECTED, table
from .setting import CARD, DEVICE, REHEARSAL, SIZES, autocast, release

VERDICTS = {None: "measured", True: "holds", False: "FAILS"}


@pytest.fixture(scope="session", autouse=True)
def _card() -> None:
    if not (CARD or REHEARSAL):
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is removed at the end: pytest would keep three, of 7 GB and more each."""
    folder = tmp_path_factory.mktemp("gpu")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def bases(place: Path) -> Bases:
    """Models to begin with."""
    return Bases(place)


@pytest.fixture
def build(bases: Bases) -> Iterator[Callable[..., Policy]]:
    """Builds a policy with an adapter that does something, on the device; its memory is free after the test."""

    def built(bits: str, base: Path | None = None, layout: LayoutName = "tree") -> Policy:
        config = PolicyConfig(
            base=str(base or bases.of("3B")), lora=LoRA(), dtype="bfloat16", checkpointing=True, layout=layout,
            four_bit=bits == "4 bits", **SIZES.shown,
        )  # fmt: skip
        policy = Policy(config, {}).to(DEVICE).eval()
        stir_adapter(policy)
        return policy

    yield built
    release()


@pytest.fixture
def ask(examples: list[Example]) -> Callable[[Policy], list[Prompt]]:
    """Prompts of a policy, their images seen."""

    def asked(policy: Policy) -> list[Prompt]:
        with autocast():
            return policy.look([policy.encoder(example) for example in examples[: SIZES.prompts]])

    return asked


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Takes a figure down; `holds` says whether it keeps to its gate."""

    def taken(check: str, found: str, holds: bool | None = None) -> None:
        request.node.user_properties.append((check, (found, VERDICTS[holds])))
        assert check in EXPECTED
        assert holds is not False, f"{check}: {found}; expected {EXPECTED[check]}"

    return taken


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, if any check was to run."""
    told = [report for reports in terminalreporter.stats.values() for report in reports]
    reports = [
        report for report in told if isinstance(report, pytest.TestReport) and report.nodeid.startswith("tests/gpu/")
    ]
    if reports:
        terminalreporter.section(_title())
        for line in table(dict(pair for report in reports for pair in report.user_properties)):
            terminalreporter.write_line(line)


def _title() -> str:
    card = torch.cuda.get_device_name() if CARD else "no card"
    return f"{card}, torch {torch.__version__}" + ", a rehearsal: figures mean nothing" * REHEARSAL
