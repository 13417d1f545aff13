"""Milliseconds from the key `a` to the next face on the page of `fea review`, with 10,000 lines, in Chromium without a window.

python tests/benchmarks/review.py [folder of faces, kept for the next time]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Page, sync_playwright

from fea.drawn.faces import write_faces
from fea.records.record import key_of

LINES, PRESSES, PORT = 10_000, 200, 7861

# From the key to the frame that is drawn after the new picture has taken its place.
WATCH = """
let pressed = 0, times = [], told = () => {};
window.shown = (count) => new Promise((done) => { told = () => times.length >= count && done(times); told(); });
document.addEventListener("keydown", () => { pressed = performance.now(); }, true);
new MutationObserver(() => {
  if (document.querySelector("#picture img").complete)
    requestAnimationFrame(() => requestAnimationFrame(() => { times.push(performance.now() - pressed); told(); }));
}).observe(document.getElementById("picture"), { childList: true });
"""


@contextmanager
def served(file: Path) -> Iterator[tuple[str, float]]:
    """`fea review`: its address, and the seconds until its page can be asked for."""
    begun = time.perf_counter()
    words = ["review", str(file), "--reviewer", "benchmark", "--port", str(PORT)]
    process = subprocess.Popen([sys.executable, "-m", "fea", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = next(word for line in process.stdout for word in line.split() if f":{PORT}/" in word)
    yield address, time.perf_counter() - begun
    process.kill()
    process.wait()


def pressed(page: Page, address: str) -> list[float]:
    """Milliseconds of each press, one after the other as fast as faces come."""
    page.goto(address)
    page.wait_for_selector("#picture img")
    page.evaluate(WATCH)
    times: list[float] = []
    while len(times) < PRESSES:
        page.keyboard.press("a")
        times = page.evaluate("count => window.shown(count)", len(times) + 1)
    return times


def prepared(folder: Path) -> Path:
    """The file without decisions about it; its faces are drawn if they are not there yet."""
    file = folder / "faces.jsonl"
    if not file.exists():
        write_faces(folder, LINES)
    shutil.rmtree(f"{file}.reviews", ignore_errors=True)
    return file


def half_decided(file: Path) -> None:
    """Two reviewers' decisions about every other line."""
    folder = file.with_name(f"{file.name}.reviews")
    keys = [key_of(json.loads(line)) for line in file.read_text().splitlines()[::2]]
    entries = [{"key": key, "verdict": "accept", "reason": "", "text": "", "time": ""} for key in keys]
    for reviewer in ("benchmark", "other"):
        (folder / f"{reviewer}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def main() -> None:
    """Measures twice: a review that begins, and one that is half done by two reviewers."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        file = prepared(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        print(f"{LINES} lines, {PRESSES} presses, Chromium {chromium.version}, {os.cpu_count()} cores")
        for name in ("nothing decided", "5,000 lines decided by two reviewers"):
            with served(file) as (address, start):
                times = pressed(chromium.new_page(), address)
            low, *_, high = quantiles(times, n=20)
            print(f"| {name} | {median(times):.0f} | {low:.0f} to {high:.0f} | {start:.1f} |")
            half_decided(file)


if __name__ == "__main__":
    main()
