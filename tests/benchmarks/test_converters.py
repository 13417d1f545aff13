"""100,000 rows through every converter: seconds and memory.

pytest -n 0 -m benchmark tests/benchmarks/test_converters.py -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

ROWS = int(os.environ.get("ROWS", "100000"))
SECONDS, GIB = 30, 1  # what each may take

pytestmark = pytest.mark.benchmark

# The command, and then the most memory that it had: what the system tells of a child counts the memory of its parent, too.
RUN = """
import sys
from fea.cli import main
code = main()
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


def touch(folder: Path, names: Iterable[str]) -> None:
    """Files that are called like images; a converter does not open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.close(os.open(f"{folder}/{name}", os.O_CREAT))


def write(file: Path, lines: Iterable[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def disfa(root: Path) -> list[object]:
    people = ["SN001", "SN002", "SN003", "SN004", "SN005", "SN006", "SN007", "SN008", "SN009", "SN010"]
    frames = ROWS // len(people)
    for person in people:
        for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26):
            lines = (f"{frame},{frame * unit % 6}" for frame in range(1, frames + 1))
            write(root / f"ActionUnit_Labels/{person}/{person}_au{unit}.txt", lines)
        touch(root / f"frames/{person}", (f"{frame:05d}.png" for frame in range(1, frames + 1)))
    return ["disfa", root]


def disfa_plus(root: Path) -> list[object]:
    for person in range(1, 11):
        for trial in range(10):
            names = [f"{frame:03d}" for frame in range(ROWS // 100)]
            for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26):
                lines = [f"{name}.jpg   {int(name) * unit % 6}" for name in names]
                write(root / f"Labels/SN{person:03d}/T{trial}/AU{unit}.txt", ["# of AU", *lines])
            touch(root / f"Images/SN{person:03d}/T{trial}", (f"{name}.jpg" for name in names))
    return ["disfa+", root]


def bp4d(root: Path) -> list[object]:
    units = range(1, 29)
    for person in range(10):
        for task in range(1, 11):
            names = range(ROWS // 100)
            rows = (",".join([str(frame), *(str(frame * unit % 2) for unit in units)]) for frame in names)
            write(root / f"AUCoding/AU_OCC/F{person:03d}_T{task}.csv", [",".join(["0", *map(str, units)]), *rows])
            touch(root / f"Sequences/F{person:03d}/T{task}", (f"{frame:04d}.jpg" for frame in names))
    return ["bp4d", root]


def raf_au(root: Path) -> list[object]:
    write(root / "RAFAU_label.txt", (f"{n:06d}.jpg 1+L2+{4 + n % 3}" for n in range(ROWS)))
    touch(root / "aligned", (f"{n:06d}_aligned.jpg" for n in range(ROWS)))
    return ["raf-au", root]


def raf_db(root: Path) -> list[object]:
    write(root / "EmoLabel/list_patition_label.txt", (f"train_{n:05d}.jpg {1 + n % 7}" for n in range(ROWS)))
    touch(root / "Image/aligned", (f"train_{n:05d}_aligned.jpg" for n in range(ROWS)))
    return ["raf-db", root]


AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def affectnet(root: Path) -> list[object]:
    marks = ";".join(["101.5"] * 136)
    rows = (f"{n % 100}/{n}.jpg,0,0,50,50,{marks},{n % 8},0.1,-0.2" for n in range(ROWS))
    write(root / "Manually_Annotated_file_lists/training.csv", [AFFECTNET, *rows])
    for part in range(100):
        touch(root / f"Manually_Annotated_Images/{part}", (f"{n}.jpg" for n in range(part, ROWS, 100)))
    return ["affectnet", root]


def affectnet_arrays(root: Path) -> list[object]:
    touch(root / "train_set/images", (f"{n}.jpg" for n in range(ROWS)))
    folder = root / "train_set/annotations"
    folder.mkdir()
    kinds = {"exp": np.array("3"), "val": np.array("0.5"), "aro": np.array("-0.25")}
    for kind, value in kinds.items():
        np.save(folder / f"0_{kind}.npy", value)
        content = (folder / f"0_{kind}.npy").read_bytes()
        for n in range(1, ROWS):
            (folder / f"{n}_{kind}.npy").write_bytes(content)
    return ["affectnet", root]


def pixels(n: int) -> str:
    """A face as smooth as a real one: neighbors differ by a few steps."""
    chance = np.random.default_rng(n)
    steps = chance.integers(-9, 10, (48, 48)).cumsum(axis=1) + chance.integers(60, 180, (48, 1))
    return " ".join(map(str, steps.clip(0, 255).ravel().tolist()))


def fer2013(root: Path) -> list[object]:
    some = [pixels(n) for n in range(200)]
    rows = (f"{n % 7},{some[n % 200]},Training" for n in range(ROWS))
    return ["fer2013", write(root / "fer2013.csv", ["emotion,pixels,Usage", *rows])]


def ck_table(root: Path) -> list[object]:
    return ["ck+", fer2013(root)[1]]


def ferplus(root: Path) -> list[object]:
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = (f"Training,fer{n:07d}.png,{n % 5},9,1,0,0,0,0,0,0,0" for n in range(ROWS))
    table = write(root / "plus/fer2013new.csv", [head, *rows])
    return ["ferplus", table, "--second-file", fer2013(root)[1]]


def ck_plus(root: Path) -> list[object]:
    for n in range(ROWS):
        person, sequence = f"S{n % 500:03d}", f"{n // 500:03d}"
        stem = f"{person}/{sequence}/{person}_{sequence}_00000011"
        write(root / f"FACS/{stem}_facs.txt", ["   9.0000000e+00   4.0000000e+00", "   1.7000000e+01   0.0000000e+00"])
        write(root / f"Emotion/{stem}_emotion.txt", ["   3.0000000e+00"])
        touch(root / f"cohn-kanade-images/{person}/{sequence}", [f"{person}_{sequence}_00000011.png"])
    return ["ck+", root]


def asked(name: str, answer: str) -> dict[str, object]:
    turns = [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": answer}]
    return {"source": "x", "image": name, "id": name, "conversations": turns, "landmark": []}


TEXT = "The cheeks are up (AU6), and the lip corners are pulled back (AU12). " * 4


def faba(root: Path) -> list[object]:
    names = [f"{n}.jpg" for n in range(ROWS)]
    for kind, end in (("au", ""), ("emotion", "The emotion is happiness.")):
        file = root / f"train/train_{kind}_anno.json"
        write(file, [json.dumps([asked(name, f"{name}: {TEXT}{end}") for name in names])])
    touch(root / "train/images", names)
    return ["faba-instruct", root]


def conversations(root: Path) -> list[object]:
    names = [f"{n}.jpg" for n in range(ROWS)]
    touch(root, names)
    records = [asked(name, f"{name}: {TEXT}The emotion is happiness.") for name in names]
    return ["conversations", write(root / "c.json", [json.dumps(records)])]


def fea20k(root: Path) -> list[object]:
    names = [f"{n}.jpg" for n in range(ROWS)]
    touch(root, names)
    lines = (
        {
            "id": name,
            "dataset": "mine",
            "image": name,
            "AUs": ["AU06", "AU12"],
            "labels": ["Happy"],
            "description": f"{n} {TEXT}",
        }
        for n, name in enumerate(names)
    )
    return ["fea20k", write(root / "f.jsonl", map(json.dumps, lines))]


def imagefolder(root: Path) -> list[object]:
    for part in ("train", "test"):
        for emotion in ("happy", "sad", "fear", "anger", "neutral"):
            touch(root / part / emotion, (f"{n}.jpg" for n in range(ROWS // 10)))
    return ["imagefolder", root]


def photos(root: Path) -> list[object]:
    for part in range(10):
        touch(root / f"album/{part}", (f"{n}.jpg" for n in range(ROWS // 10)))
    return ["photos", root]


def csv(root: Path) -> list[object]:
    touch(root / "images", (f"{n}.jpg" for n in range(ROWS)))
    units = range(1, 26)
    rows = (
        ",".join([f"images/{n}.jpg", "happy", *(str(n * unit % 2) for unit in units), f"S{n % 50}"])
        for n in range(ROWS)
    )
    return [
        "csv",
        write(root / "t.csv", [",".join(["image", "emotion", *(f"AU{u:02d}" for u in units), "subject"]), *rows]),
    ]


def parquet(root: Path) -> list[object]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": b"\xff\xd8\xff" + n.to_bytes(4, "big") * 500, "path": f"{n}.jpg"} for n in range(ROWS)]
    pq.write_table(pa.table({"image": images, "label": ["happy"] * ROWS, "AU12": [1] * ROWS}), root / "t.parquet")
    return ["parquet", root / "t.parquet"]


def hugging_face(root: Path) -> list[object]:
    import datasets

    touch(root / "images", (f"{n}.jpg" for n in range(ROWS)))
    rows = {
        "image": [str(root / f"images/{n}.jpg") for n in range(ROWS)],
        "label": ["happy"] * ROWS,
        "AU12": [1] * ROWS,
    }
    datasets.Dataset.from_dict(rows).save_to_disk(root / "saved")
    return ["hf", root / "saved", "--image_root", root]


def tracked(name: str, columns: list[str], values: Callable[[int], list[object]]) -> Callable[[Path], list[object]]:
    def made(root: Path) -> list[object]:
        touch(root, (f"{n}.jpg" for n in range(ROWS)))
        rows = (",".join(map(str, [f"{n}.jpg", *values(n)])) for n in range(ROWS))
        return [name, write(root / "t.csv", [",".join(["input", *columns]), *rows])]

    return made


UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)
WORDS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
WAYS: dict[str, Callable[[Path], list[object]]] = {
    "disfa": disfa, "disfa+": disfa_plus, "bp4d": bp4d, "raf-au": raf_au, "raf-db": raf_db, "affectnet": affectnet,
    "affectnet, arrays": affectnet_arrays, "fer2013": fer2013, "ferplus": ferplus, "ck+": ck_plus, "ck+, table": ck_table,
    "faba-instruct": faba, "fea20k": fea20k, "conversations": conversations, "imagefolder": imagefolder, "photos": photos,
    "csv": csv, "parquet": parquet, "hf": hugging_face,
    "openface": tracked(
        "openface", ["confidence", "success", *(f"AU{u:02d}_r" for u in UNITS), *(f"AU{u:02d}_c" for u in UNITS)],
        lambda n: [0.98, 1, *(n * u % 50 / 10 for u in UNITS), *(n * u % 2 for u in UNITS)],
    ),
    "py-feat": tracked(
        "py-feat", ["frame", "FaceRectX", "FaceScore", *(f"AU{u:02d}" for u in UNITS), *WORDS],
        lambda n: [n, 1.0, 0.9, *(n * u % 10 / 10 for u in UNITS), *(float(n % 7 == k) for k in range(7))],
    ),
    "libreface": tracked(
        "libreface", ["facial_expression", *(f"au_{u}" for u in UNITS), *(f"au_{u}_intensity" for u in UNITS)],
        lambda n: ["Happiness", *(n * u % 2 for u in UNITS), *(n * u % 50 / 10 for u in UNITS)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_100_000_rows(name: str, tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    words = WAYS[name](root)
    os.sync()  # what was just written is not the converter's work
    command = [sys.executable, "-c", RUN, "data", "convert", *map(str, words), "-o", str(tmp_path / "o.jsonl")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds, memory = time.perf_counter() - start, int(told.split()[-1]) / 2**20
    work = usage.ru_utime + usage.ru_stime
    print(
        f"\n{name}: {seconds:.1f} s, of which {work:.1f} s of a processor, {memory:.2f} GiB; {told.splitlines()[:1]}",
        flush=True,
    )
    assert os.waitstatus_to_exitcode(status) == 0
    assert sum(1 for _ in (tmp_path / "o.jsonl").open("rb")) == ROWS
    assert seconds < SECONDS
    assert memory < GIB
