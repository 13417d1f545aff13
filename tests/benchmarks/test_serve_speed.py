"""`fea serve`: 200 requests at once against one by one, over real connections.

FEA_RUN=runs/demo pytest -n 0 -m benchmark tests/benchmarks/test_serve_speed.py -s

The run is that of `fea demo`. Both sides get the same answers; memory is that of this process, which serves and asks.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from answering import desk_of, served

from fea.drawn.faces import write_faces
from fea.model.checkpoints import load_policy
from fea.web.server import Address

FACES, TOKENS, PORT = 200, 112, 17875

pytestmark = pytest.mark.benchmark


def ask(address: Address, file: Path) -> str:
    body = json.dumps({"image": base64.b64encode(file.read_bytes()).decode()}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/analyze", body, {"Authorization": f"Bearer {address.token}"}
    )
    with urllib.request.urlopen(asked, timeout=600) as answer:
        return str(json.load(answer)["results"][0]["text"])


class Watched:
    """The most memory that this process has, in MiB, while the block runs."""

    def __enter__(self) -> Watched:
        self.most, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, psutil.Process().memory_info().rss / 2**20)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_serve(tmp_path: Path) -> None:
    policy, _ = load_policy(os.environ["FEA_RUN"])
    write_faces(tmp_path, FACES, seed=77)
    files = sorted((tmp_path / "images").iterdir())
    with desk_of(policy, TOKENS, batch_size=32) as desk, served(desk, PORT) as address:
        ask(address, files[0])
        with Watched() as alone:
            start = time.perf_counter()
            expected = [ask(address, file) for file in files]
            plain = time.perf_counter() - start
        desk.service.batches.clear()
        with Watched() as together, ThreadPoolExecutor(FACES) as pool:
            start = time.perf_counter()
            found = list(pool.map(lambda file: ask(address, file), files))
            ours = time.perf_counter() - start
        batches = list(desk.service.batches)
    print("\n| | seconds | requests a second | MiB |\n|---|---|---|---|")
    for name, seconds, watched in (("one by one", plain, alone), (f"{FACES} at once", ours, together)):
        print(f"| {name} | {seconds:.1f} | {FACES / seconds:.1f} | {watched.most:.0f} |")
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    print(f"\n{plain / ours:.1f} times as fast, in {len(batches)} batches; {same} of {FACES} answers the same")
    assert same == FACES
