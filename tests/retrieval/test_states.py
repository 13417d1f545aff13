"""A policy's hidden states as vectors, and its order of a few documents: against passes that share nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, small_config
from strangers import write_stranger

from fea.drawn.faces import EMOTIONS
from fea.errors import FEAError
from fea.model.checkpoints import Stored
from fea.model.policy import Policy
from fea.prompts.answer import render
from fea.prompts.prompt import DEFAULT_QUESTION, system_prompt
from fea.retrieval import states
from fea.retrieval.listwise import Listwise, Sorter, reordered, windows
from fea.retrieval.ranking import ByScore
from fea.retrieval.states import States, of_words

TEXTS = [
    render("The brows are drawn together (AU4). The lids are tight (AU7).", "anger"),
    render("The jaw is down (AU26).", "surprise"),
    "x",
    render("The face is at rest. " * 3, "neutral"),
]


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return Policy(small_config(tiny=replace(SMALL, family=request.param)), {}).eval()


def trained(policy: Policy) -> Stored:
    return Stored(policy.config, EMOTIONS, frozenset(), "")


def alone(policy: Policy, asked: str, text: str) -> np.ndarray:
    """The mean over a text in a row of its own, by the stock network."""
    network = policy.network
    tokenizer = policy.encoder.tokenizer
    messages = [{"role": "system", "content": system_prompt("brief")}, {"role": "user", "content": asked}]
    start = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))["input_ids"]
    target = policy.encoder.target(text).tolist()
    ids = torch.tensor([[*start, *target]])
    with torch.no_grad():
        found = network.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, len(start) :]
    mean = found.mean(dim=0).numpy()
    return np.asarray(mean / np.linalg.norm(mean))


def test_packed_documents_have_the_vectors_that_they_have_alone(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = States(policy, trained(policy))
    vectors = encoder.documents(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, alone(policy, DEFAULT_QUESTION, text), atol=1e-5)
    monkeypatch.setattr(states, "_TOGETHER", 1)  # a pass for each
    np.testing.assert_allclose(encoder.documents(TEXTS), vectors, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_the_instruction_stands_in_the_prompt_of_the_query(policy: Policy) -> None:
    encoder = States(policy, trained(policy))
    given = encoder.query("wide eyes", "Find the angry ones.")
    np.testing.assert_allclose(given, alone(policy, "Find the angry ones.", "wide eyes"), atol=1e-5)
    assert np.abs(given - encoder.query("wide eyes", "")).max() > 0.001


def test_a_query_of_units_is_read_as_the_analysis_that_it_asks_for(policy: Policy) -> None:
    text = "<think>The brows come down and together (AU4). The jaw hangs open (AU26).</think><answer>anger</answer>"
    given = States(policy, trained(policy)).query("AU26 and AU4, anger and not fear", "")
    np.testing.assert_allclose(given, alone(policy, DEFAULT_QUESTION, text), atol=1e-5)
    whole = States(policy, trained(policy)).query(TEXTS[0], "")
    np.testing.assert_allclose(whole, alone(policy, DEFAULT_QUESTION, TEXTS[0]), atol=1e-5)


def test_other_weights_are_another_encoder() -> None:
    first, second = Policy(small_config(), {}), Policy(small_config(), {})
    assert States(first, trained(first)).identity == States(second, trained(second)).identity
    with torch.no_grad():
        next(iter(second.trainable().values())).view(-1)[0] += 1
    assert States(first, trained(first)).identity != States(second, trained(second)).identity


def test_a_stranger_is_refused_in_one_sentence(tmp_path: Path) -> None:
    policy = Policy(small_config(base=str(write_stranger("gemma3", tmp_path))), {})
    with pytest.raises(FEAError, match="wants an image with every text"):
        of_words(policy, "")


# --- a few documents in order ---


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, []),
        (1, []),
        (2, [(0, 2)]),
        (12, [(0, 12)]),
        (20, [(0, 20)]),
        (21, [(1, 21), (0, 20)]),
        (35, [(15, 35), (5, 25), (0, 20)]),
        (40, [(20, 40), (10, 30), (0, 20)]),
    ],
)
def test_no_document_is_left_alone(count: int, told: list[tuple[int, int]]) -> None:
    assert windows(count) == told


@pytest.mark.parametrize("count", [2, 9, 19, 21, 57, 100])
def test_the_best_rise_to_the_top_from_anywhere(count: int) -> None:
    """Ten documents pass from each window to the next, so the ten best arrive, wherever they were."""
    order = np.random.default_rng(count).permutation(count).tolist()
    found = reordered(order, sorted)
    assert sorted(found) == list(range(count))
    assert found[:10] == list(range(min(10, count)))


def test_documents_are_ordered_by_the_likelihood_of_their_letters(policy: Policy) -> None:
    sorter = Sorter(policy, trained(policy), TEXTS)
    found = sorter.sorted("Query: AU4", [2, 0, 3])
    listed = "\n".join(
        f"{name}. {' '.join(TEXTS[number].split())}" for name, number in zip("ABC", [2, 0, 3], strict=True)
    )
    asked = f"Query: AU4\n{listed}\nWhich of these fits best? Answer with its letter."
    ids = policy.encoder.words(asked, "You compare written analyses of faces.")
    with torch.no_grad():
        logits = policy.network.model(input_ids=ids[None]).logits[0, -1]
    letters = [int(policy.encoder.target(name)[0]) for name in "ABC"]
    assert found == [[2, 0, 3][place] for place in logits[letters].argsort(descending=True).tolist()]


def test_only_the_first_documents_are_put_in_order(policy: Policy) -> None:
    class Reverse(Sorter):
        def sorted(self, asked: str, numbers: object) -> list[int]:
            told.append(asked)
            return list(numbers)[::-1]  # type: ignore[call-overload]

    class Given:
        name = "given"

        def scores(self, query: str, instruction: str = "") -> np.ndarray:
            return np.arange(6.0)[::-1]

    told: list[str] = []
    ranker = Listwise(ByScore(Given()), Reverse(policy, trained(policy), TEXTS), depth=3)
    assert ranker.rank("q", "Find it.", left_out=[1]).tolist() == [3, 2, 0, 4, 5]
    assert told == ["Find it. Query: q"]
    assert ranker.name == "given, re-ranked"
