"""What programs get from `fea serve`: answers as `fea analyze` gives them, and a sentence for all that is no question."""

from __future__ import annotations

import base64
import json
import random
import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from answering import Scripted, as_base64, desk_of, served
from conftest import SMALL, small_config
from flask import Flask
from flask.testing import FlaskClient
from photographed import person, photograph
from PIL import Image

from fea.analysis.analyzer import Analyzer
from fea.cli import main
from fea.drawn.faces import EMOTIONS
from fea.model.checkpoints import Stored
from fea.model.policy import Policy
from fea.serving.gate import BusyError, Gate
from fea.web.serve import Desk, make_app
from fea.web.server import Address

HERE = "http://127.0.0.1:7872"
TOKENS = 24


@pytest.fixture(scope="module")
def policy() -> Policy:
    found = Policy(small_config(tiny=replace(SMALL, spread=0.3)), {}).eval()  # each face gets an answer of its own
    found.network.ends = [*found.network.ends, *range(0, 500, 15)]  # so that answers end by themselves
    return found


@pytest.fixture(scope="module")
def desk(policy: Policy) -> Iterator[Desk]:
    with desk_of(policy, TOKENS) as found:
        yield found


@pytest.fixture
def client(desk: Desk) -> FlaskClient:
    address = Address(7872)
    found = make_app(desk, address).test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {address.token}"
    return found


@pytest.fixture(scope="module")
def faces(faces_file: Path) -> list[Path]:
    return sorted((faces_file.parent / "images").iterdir())


def encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def chat(image: str, **more: Any) -> dict[str, Any]:
    content = [
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
    ]
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


def post(client: FlaskClient, path: str, body: object) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, data=data, base_url=HERE)
    return answer.status_code, answer.json


def events(answer: bytes) -> list[dict[str, Any]]:
    parts = answer.decode().split("\n\n")
    assert parts.pop() == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts if part != "data: [DONE]"]


def test_the_answer_is_that_of_fea_analyze(client: FlaskClient, policy: Policy, faces: list[Path]) -> None:
    analyzer = Analyzer(policy, Stored(policy.config, EMOTIONS, frozenset(), "SFTModule"))
    expected = analyzer.analyze([str(face) for face in faces[:3]], max_tokens=TOKENS, num_workers=0)
    assert len({result.text for result in expected}) == 3
    for face, result in zip(faces, expected, strict=False):
        code, answer = post(client, "/analyze", {"image": encoded(face)})
        (found,) = answer["results"]
        assert code == 200
        assert {name: found[name] for name in ("AUs", "emotion", "reasoning", "valid", "text")} == {
            name: value for name, value in result.row.items() if name not in ("image", "error")
        }
        asked = {"image": f"data:image/png;base64,{encoded(face)}", "stream": True, "shown": True}
        stream = client.post("/analyze", json=asked, base_url=HERE)
        assert stream.mimetype == "text/event-stream"
        shown, *pieces, last = events(stream.data)
        assert shown["shown"].startswith("data:image/jpeg;base64,")
        assert "".join(piece["text"] for piece in pieces) == result.text
        assert last["result"] == found


def test_an_answer_may_be_asked_for_in_another_form(client: FlaskClient, policy: Policy, faces: list[Path]) -> None:
    analyzer = Analyzer(policy, Stored(policy.config, EMOTIONS, frozenset(), "SFTModule"))
    quick, slow = (
        analyzer.analyze(str(faces[0]), max_tokens=TOKENS, answer=form)[0].text for form in ("only", "after_thinking")
    )
    assert quick != slow
    for form, text in (("only", quick), ("after_thinking", slow), (None, slow)):
        code, answer = post(client, "/analyze", {"image": encoded(faces[0]), "answer": form})
        assert (code, answer["results"][0]["text"]) == (200, text)
        assert (answer["results"][0]["AUs"] is None) == (form == "only")
    code, answer = post(client, "/analyze", {"image": encoded(faces[0]), "answer": "fast"})
    assert (code, answer) == (400, {"error": "answer: choose after_thinking, first, only"})


def test_samples_are_counted_and_repeated_by_their_seed(client: FlaskClient, faces: list[Path]) -> None:
    def ask(seed: int) -> dict[str, Any]:
        return post(client, "/analyze", {"image": encoded(faces[0]), "samples": 8, "seed": seed})[1]["results"][0]

    first = ask(1)
    assert ask(1) == first != ask(2)
    assert all(0 < share <= 1 for share in (*first["votes"].values(), *first["emotion_votes"].values()))
    assert "votes" not in post(client, "/analyze", {"image": encoded(faces[0])})[1]["results"][0]


def test_likelihoods_are_those_of_fea_analyze(client: FlaskClient, policy: Policy, faces: list[Path]) -> None:
    analyzer = Analyzer(policy, Stored(policy.config, EMOTIONS, frozenset(), "SFTModule"))
    expected = analyzer.analyze(str(faces[0]), max_tokens=TOKENS, answer="only", likelihood=True)[0].likelihood
    asked = {"image": encoded(faces[0]), "answer": "only", "likelihood": True}
    found = post(client, "/analyze", asked)[1]["results"][0]["likelihood"]
    assert found == pytest.approx(expected, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1)
    assert "likelihood" not in post(client, "/analyze", {**asked, "likelihood": False})[1]["results"][0]
    assert post(client, "/analyze", {**asked, "likelihood": 1})[0] == 400


def test_faces_are_found_if_asked(client: FlaskClient) -> None:
    room = photograph((person(9, 160), (30, 200)), (person(1, 240), (350, 80)))
    code, answer = post(client, "/analyze", {"image": as_base64(room), "faces": "all", "shown": True})
    assert (code, [found["face_id"] for found in answer["results"]]) == (200, [0, 1])
    for found in answer["results"]:
        assert 80 < found["box"][2] < 240
        assert found["shown"].startswith("data:image/jpeg")
    nobody = as_base64(Image.new("RGB", (300, 300), "gray"))
    code, answer = post(client, "/analyze", {"image": nobody, "faces": "largest"})
    assert (code, answer) == (400, {"error": "image: no face; look at all of it with faces none"})


def test_openais_client_speaks_to_it(desk: Desk, faces: list[Path]) -> None:
    with served(desk, 17873) as address:
        client = openai.OpenAI(base_url="http://127.0.0.1:17873/v1", api_key=address.token, max_retries=0)
        assert [model.id for model in client.models.list()] == ["tiny"]
        body = chat(encoded(faces[0]))
        whole = client.chat.completions.create(**body)
        plain = urllib.request.Request(
            "http://127.0.0.1:17873/analyze",
            json.dumps({"image": encoded(faces[0])}).encode(),
            {"Authorization": f"Bearer {address.token}"},
        )
        with urllib.request.urlopen(plain) as answer:
            (result,) = json.load(answer)["results"]
        assert whole.choices[0].message.content == result["text"]
        assert whole.choices[0].finish_reason == ("length" if result["truncated"] else "stop")
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 20
        chunks = list(client.chat.completions.create(**body, n=2, stream=True, stream_options={"include_usage": True}))
        for number in (0, 1):
            told = [c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == number]
            assert "".join(told) == result["text"]
        assert chunks[-1].usage is not None
        drawn = [client.chat.completions.create(**body, temperature=1, seed=seed) for seed in (1, 1, 2)]
        said = [one.choices[0].message.content for one in drawn]
        assert said[0] == said[1] != said[2]
        with pytest.raises(openai.NotFoundError, match="there is tiny here"):
            client.chat.completions.create(**{**body, "model": "other"})
        with pytest.raises(openai.BadRequestError, match="'tools' is not known"):
            client.chat.completions.create(**body, tools=[])
        stranger = openai.OpenAI(base_url="http://127.0.0.1:17873/v1", api_key="no", max_retries=0)
        with pytest.raises(openai.PermissionDeniedError, match="token"):
            stranger.models.list()


def test_two_hundred_at_once_are_all_answered_in_batches(policy: Policy, faces: list[Path]) -> None:
    images = [encoded(face) for face in faces[:5]]
    with desk_of(policy, 8, batch_size=16, ready=24) as desk:
        address = Address(7872)
        app = make_app(desk, address)
        most = [0]
        ready, taken, lock = desk.gate.ready, desk.gate.taken, threading.Lock()
        made = [0]

        def count_ready() -> None:
            ready()
            with lock:
                made[0] += 1
                most[0] = max(most[0], made[0])

        def count_taken() -> None:
            with lock:
                made[0] -= 1
            taken()

        desk.gate.ready, desk.service.taken = count_ready, count_taken  # type: ignore[method-assign]

        def ask(number: int) -> tuple[int, int, str]:
            headers = {"Authorization": f"Bearer {address.token}"}
            answer = app.test_client().post(
                "/analyze", json={"image": images[number % 5]}, base_url=HERE, headers=headers
            )
            return number % 5, answer.status_code, answer.json["results"][0]["text"]  # type: ignore[index]

        with ThreadPoolExecutor(200) as pool:
            found = list(pool.map(ask, range(200)))
        assert Counter(code for _, code, _ in found) == {200: 200}
        assert len({(number, text) for number, _, text in found}) == 5  # each got its own
        assert sum(desk.service.batches) == 200
        assert max(desk.service.batches) == 16
        assert len(desk.service.batches) < 40
        assert most[0] <= 24
        assert made == [0]


def test_one_too_many_is_told_to_come_again(desk: Desk, faces: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "gate", Gate(requests=1, room=1 << 30, ready=1))
    desk.gate.enter()
    address = Address(7872)
    found = make_app(desk, address).test_client()
    for path in ("/analyze", "/v1/chat/completions"):
        headers = {"Authorization": f"Bearer {address.token}"}
        answer = found.post(path, json={"image": encoded(faces[0])}, base_url=HERE, headers=headers)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    desk.gate.leave()
    desk.gate.enter()  # those that were sent away do not count


def test_who_leaves_in_the_middle_takes_no_place_any_more(policy: Policy, faces: list[Path]) -> None:
    with desk_of(Scripted(policy, lambda _: "one two three " * 20, pause=0.005), 200) as desk:
        address = Address(7872)
        client = make_app(desk, address).test_client()
        headers = {"Authorization": f"Bearer {address.token}"}
        asked = {"image": encoded(faces[0]), "stream": True}
        answer = client.post("/analyze", json=asked, base_url=HERE, headers=headers, buffered=False)
        assert b"one " in next(iter(answer.response))
        for _ in range(255):
            desk.gate.enter()
        with pytest.raises(BusyError):
            desk.gate.enter()
        answer.close()
        desk.gate.enter()  # there is a place again
        whole = client.post("/v1/chat/completions", json=chat(encoded(faces[0])), base_url=HERE, headers=headers)
        assert whole.status_code == 429
        desk.gate.leave()
        whole = client.post("/v1/chat/completions", json=chat(encoded(faces[0])), base_url=HERE, headers=headers)
        assert whole.json["choices"][0]["message"]["content"] == "one two three " * 20  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "80"], "port: 80; give one from 1024 to 65535"),
        (["--batch_size", "0"], "batch_size: 0; give at least 1"),
        (["--port", "17876"], "no-such-run"),
    ],
)
def test_what_stands_against_serving_is_told_at_once(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["serve", str(tmp_path / "no-such-run"), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_command_serves_a_run_until_it_is_ended(
    policy: Policy, faces: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = Stored(policy.config, ("joy",), frozenset({"faces"}), "SFTModule")
    monkeypatch.setattr("fea.model.checkpoints.load_policy", lambda *_: (policy, trained))
    found: list[Any] = []
    before = threading.active_count()

    def answer(app: Flask, port: int, _: object) -> None:
        told = capsys.readouterr()
        assert "drawn faces only" in told.err
        token = re.findall(rf"http://127.0.0.1:{port}/\?token=([\w-]+) \(Ctrl-C ends it", told.out)[0]
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        for path in ("/start", "/v1/models"):
            found.append(client.get(path, base_url=f"http://127.0.0.1:{port}").json)
        raise KeyboardInterrupt

    monkeypatch.setattr("fea.web.server.serve", answer)
    assert main(["serve", "runs/my run!", "--port", "17877"]) == 130
    assert (found[0]["emotions"], found[0]["model"]) == (["joy"], "my-run")
    assert [model["id"] for model in found[1]["data"]] == ["my-run"]
    assert threading.active_count() == before  # the thread of the model has ended


REFUSED = {
    "no JSON": (b"{", "the body is no JSON"),
    "no object": ([], "the body is a list"),
    "not a number": (b'{"samples": NaN}', "NaN is no number"),
    "deep": (b"[" * 100_000, "the body is no JSON"),
    "strange": ({"image": "", "pixels": 1}, "'pixels' is not known; known are image, "),
    "no image": ({}, "image: it is missing"),
    "number": ({"image": 7}, "image: it is a number; give an image in base64"),
    "address": ({"image": "https://example.org/a.png"}, "addresses are not fetched"),
    "no picture": ({"image": base64.b64encode(b"GIF8" + bytes(60)).decode()}, "image: it cannot be read"),
    "text": ({"image": "", "question": "x" * 2001}, "question: it has 2001 characters"),
    "half": (b'{"image": "AA==", "question": "\\udfff"}', "question: it holds half of a character"),
    "samples": ({"image": "", "samples": 65}, "samples: give a whole number from 0 to 64"),
    "boolean": ({"image": "", "samples": True}, "samples: it is a boolean"),
    "huge": ({"image": "", "samples": 10**4000}, "samples: give a whole number"),
    "emotions": ({"image": "", "emotions": "basic9"}, "'basic9' is no preset"),
    "no emotion": ({"image": "", "emotions": []}, "emotions: it has 0 entries"),
    "tokens": ({"image": "", "max_tokens": TOKENS + 1}, f"max_tokens: give a whole number from 1 to {TOKENS}"),
    "faces": ({"image": "", "faces": "some"}, "faces: choose none, largest, all"),
    "all words": ({"image": "", "faces": "all", "stream": True}, "the words of one face at a time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_question_is_refused_in_a_sentence(client: FlaskClient, name: str) -> None:
    body, sentence = REFUSED[name]
    code, answer = post(client, "/analyze", body)
    assert code == 400
    assert sentence in answer["error"]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
REFUSED_CHATS = {
    "no messages": ({}, "messages: it has 0 entries"),
    "history": ({"messages": [{"role": "assistant", "content": "x"}]}, "ask one question about one image"),
    "no question": ({"messages": [{"role": "system", "content": "x"}]}, "0 are from the user"),
    "no image": ({"messages": [{"role": "user", "content": "x"}]}, "there is no image"),
    "two images": ({"messages": [{"role": "user", "content": [IMAGE, IMAGE]}]}, "there are 2 images; send one"),
    "sound": ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "'input_audio' is not known"),
    "address": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}]},
        "messages[0].content[0].image_url.url: send the image as data:image/",
    ),
    "no object": ({"messages": [7]}, "messages[0]: it is no object"),
    "nucleus": ({"top_p": 0.5}, "top_p: only 1 is done here"),
    "cold": ({"temperature": 0.001}, "temperature: give 0 or at least 0.01"),
    "many": ({"n": 17}, "n: give a whole number from 1 to 16"),
    "stop": ({"stop": "x"}, "'stop' is not known"),
}


@pytest.mark.parametrize("name", REFUSED_CHATS)
def test_what_no_chat_can_have_is_refused_in_openais_shape(client: FlaskClient, name: str) -> None:
    body, sentence = REFUSED_CHATS[name]
    code, answer = post(client, "/v1/chat/completions", {"model": "tiny", **body})
    assert code == 400
    assert sentence in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


def mutated(body: Any, chance: random.Random) -> Any:
    """A value in which something is something else."""
    strange = [
        None,
        True,
        -1,
        1e308,
        10**30,
        "",
        "\ud800",
        "x" * 5000,
        [],
        {},
        [[]],
        {"": {}},
        "data:image/png;base64,",
    ]
    if isinstance(body, dict) and body and chance.random() < 0.8:
        name = chance.choice(list(body))
        more = {chance.choice(["", "a", name]): chance.choice(strange)} if chance.random() < 0.2 else {}
        return {**body, name: mutated(body[name], chance), **more}
    if isinstance(body, list) and body and chance.random() < 0.8:
        place = chance.randrange(len(body))
        return [*body[:place], mutated(body[place], chance), *body[place + 1 :] * chance.choice([0, 1, 3])]
    if isinstance(body, str) and len(body) > 20 and chance.random() < 0.5:
        place = chance.randrange(len(body))
        return body[:place] + chance.choice(["", "\x00", "A" * 50, "é"]) + body[place + 1 :]
    return chance.choice(strange)


def fuzz(client: FlaskClient, image: str, count: int, seed: int) -> Counter[int]:
    """Statuses of requests that are nearly right."""
    chance, found = random.Random(seed), Counter[int]()
    whole = {
        "image": image,
        "samples": 2,
        "seed": 1,
        "max_tokens": 2,
        "emotions": ["joy"],
        "faces": "none",
        "shown": True,
    }
    talk = chat(image, max_tokens=2, temperature=1, n=2, seed=3, stream_options={"include_usage": True}, user="u")
    for number in range(count):
        path, body = [("/analyze", {**whole, "question": "?"}), ("/v1/chat/completions", talk)][number % 2]
        for _ in range(chance.choice([1, 1, 2, 3])):
            body = mutated(body, chance)
        data = json.dumps(body).encode()
        if chance.random() < 0.15:
            place = chance.randrange(len(data))
            data = data[:place] + chance.randbytes(3) + data[place + chance.randrange(200) :]
        answer = client.post(path, data=data, base_url=HERE)
        assert answer.status_code < 500, (path, data[:2000], answer.data)
        assert answer.status_code == 200 or answer.json["error"], answer.data  # type: ignore[index]
        found[answer.status_code] += 1
    return found


def test_bodies_that_are_nearly_right_are_refused_and_nothing_breaks(client: FlaskClient, faces: list[Path]) -> None:
    found = fuzz(client, encoded(faces[0]), 300, seed=1)
    assert set(found) <= {200, 400, 404}
    assert found[400] > 100
    assert found[200] > 5  # some are right all the same
    assert post(client, "/analyze", {"image": encoded(faces[0]), "max_tokens": 1})[0] == 200


def test_bounds_of_a_request(client: FlaskClient) -> None:
    answer = client.post("/analyze", data=b"x" * ((32 << 20) + 1), base_url=HERE)
    assert (answer.status_code, "error" in (answer.json or {})) == (413, True)
    chunked = client.post("/analyze", input_stream=None, headers={"Transfer-Encoding": "chunked"}, base_url=HERE)
    assert chunked.status_code in (400, 411)
    for method, path in (("GET", "/analyze"), ("PUT", "/v1/chat/completions"), ("GET", "/no"), ("POST", "/drawn")):
        assert 404 <= client.open(path, method=method, base_url=HERE).status_code <= 405


def test_a_program_needs_the_token_and_a_page_its_origin(desk: Desk, faces: list[Path]) -> None:
    address = Address(7872)
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {address.token}"}):
        client = make_app(desk, address).test_client()
        for path in ("/analyze", "/v1/chat/completions", "/v1/models", "/openapi.json", "/drawn", "/start"):
            method = "POST" if path in ("/analyze", "/v1/chat/completions") else "GET"
            assert client.open(path, method=method, base_url=HERE, headers=headers).status_code == 403
    client = make_app(desk, address).test_client()
    client.get(address.url)
    assert client.post("/analyze", json={}, base_url=HERE).status_code == 403
    assert client.post("/analyze", json={}, base_url=HERE, headers={"Origin": "http://evil"}).status_code == 403
    assert client.post("/analyze", json={}, base_url=HERE, headers={"Origin": HERE}).status_code == 400


def test_faces_are_drawn_as_strongly_as_is_asked(client: FlaskClient) -> None:
    def drawn(query: str) -> bytes:
        answer = client.get(f"/drawn?{query}", base_url=HERE)
        assert (answer.status_code, answer.mimetype) == (200, "image/png")
        return answer.data

    pictures = [drawn(query) for query in ("size=64", "AU12=0.3&size=64", "AU12=0.6&size=64", "AU12=0.6&AU6=1&size=64")]
    assert len(set(pictures)) == 4
    assert drawn("AU12=0&size=64") == pictures[0]
    for query in ("AU12=2", "AU12=nan", "AU14=1", "size=5000", "size=x", "AU12=", "x=1"):
        answer = client.get(f"/drawn?{query}", base_url=HERE)
        assert (answer.status_code, "error" in (answer.json or {})) == (400, True), query


def test_all_that_is_offered_is_described(client: FlaskClient) -> None:
    told = client.get("/openapi.json", base_url=HERE).json
    assert told is not None
    rules = client.application.url_map.iter_rules()
    programs = {rule.rule for rule in rules} - {"/", "/start", "/openapi.json", "/static/<path:filename>"}
    assert set(told["paths"]) == programs
    from fea.serving.asking import ANALYZE
    from fea.serving.chat import CHAT

    def fields(path: str) -> set[str]:
        content = told["paths"][path]["post"]["requestBody"]["content"]  # type: ignore[index]
        return set(content["application/json"]["schema"]["properties"])

    assert fields("/analyze") == set(ANALYZE)
    assert fields("/v1/chat/completions") == set(CHAT) - {"top_p", "frequency_penalty", "presence_penalty"}


def test_nothing_is_written_to_the_disk(client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large photograph, as servers like to lay aside: whatever opens a file for writing is caught."""
    import builtins
    import os
    import tempfile

    opened: list[object] = []
    real, low = builtins.open, os.open

    def watch(file: object, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if set(mode) & set("wax+"):
            opened.append(file)
        return real(file, mode, *rest, **more)  # type: ignore[call-overload]

    def watch_low(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(path)
        return low(path, flags, *rest, **more)

    monkeypatch.setattr(builtins, "open", watch)
    monkeypatch.setattr(os, "open", watch_low)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = as_base64(Image.effect_noise((1500, 1500), 90).convert("RGB"))
    assert len(large) > 4_000_000
    assert post(client, "/analyze", {"image": large})[0] == 200
    assert opened == []
    assert list(tmp_path.iterdir()) == []
