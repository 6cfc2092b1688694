#!/usr/bin/env python3
"""This engine beside faiss on the same rows, in one run: training and adding of RVC's IVF,Flat, what it finds, and how long a search takes.

usage: faiss_ivf.py VOICE_DIR QUERIES.npy [--rows N] [--device SELECTOR] [--threads N] [--repeat N] [--json FILE]

Needs faiss-cpu and numpy, and `cargo build --release` first. The rows are the voice's first N, as RVC would index them.
faiss judges both: objective and recall are measured with faiss on both indexes. Times are the best of the repeats.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("voice", type=Path)
parser.add_argument("queries", type=Path)
parser.add_argument("--rows", type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--repeat", type=int, default=3)
parser.add_argument("--json", type=Path)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)

import faiss  # noqa: E402  (reads OMP_NUM_THREADS when it loads)
import numpy as np  # noqa: E402

K = 8
COMMAND = Path(__file__).resolve().parents[2] / "target/release/rvc-gpu-index"


def build_theirs(rows, nlist):
    """RVC's own steps; returns the index and the seconds of training and adding."""
    index = faiss.index_factory(rows.shape[1], f"IVF{nlist},Flat")
    start = time.perf_counter()
    index.train(rows)
    trained = time.perf_counter()
    for first in range(0, len(rows), 8192):
        index.add(rows[first : first + 8192])
    return index, trained - start, time.perf_counter() - trained


def run(*arguments):
    done = subprocess.run([COMMAND, *map(str, arguments), "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def build_ours(voice, folder):
    file = folder / "ours.index"
    report = run("build", voice, "-o", file, "--device", args.device, "--force")
    return faiss.read_index(str(file)), report


def judge(index, rows, queries, truth):
    """Mean squared distance of the rows to their centroids, and recall@8 at nprobe 1 and 8."""
    distances, _ = index.quantizer.search(rows, 1)
    figures = {"objective": float(distances.mean())}
    for nprobe in (1, 8):
        index.nprobe = nprobe
        _, found = index.search(queries, K)
        hits = [len(set(a) & set(b)) for a, b in zip(found, truth)]
        figures[f"recall@8 nprobe {nprobe}"] = float(np.mean(hits) / K)
    return figures


def main():
    files = sorted(args.voice.glob("3_feature*/*.npy")) or sorted(args.voice.glob("*.npy"))
    rows = np.concatenate([np.load(file) for file in files])[: args.rows]
    queries = np.load(args.queries)[:2000]
    n, d = rows.shape
    nlist = max(1, min(int(16 * np.sqrt(n)), n // 39))
    exact = faiss.IndexFlatL2(d)
    exact.add(rows)
    _, truth = exact.search(queries, K)

    ours, theirs = {"train": [], "add": []}, {"train": [], "add": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        voice = folder / "voice.npy"
        np.save(voice, rows)
        for _ in range(args.repeat):
            their_index, train, add = build_theirs(rows, nlist)
            theirs["train"].append(train)
            theirs["add"].append(add)
            our_index, report = build_ours(voice, folder)
            ours["train"].append(report["seconds"]["train"])
            ours["add"].append(report["seconds"]["add"])
        assert report["nlist"] == nlist, report
    figures = {"ours": {k: min(v) for k, v in ours.items()}, "faiss": {k: min(v) for k, v in theirs.items()}}
    for side in figures.values():
        side["train + add"] = side["train"] + side["add"]
    figures["ours"] |= judge(our_index, rows, queries, truth)
    figures["faiss"] |= judge(their_index, rows, queries, truth)

    print(f"{n} x {d}, nlist {nlist}, {args.threads} threads, device {report['device']['name']}")
    print(f"{'':20} {'ours':>12} {'faiss':>12} {'ours/faiss':>12}")
    for name in figures["ours"]:
        a, b = figures["ours"][name], figures["faiss"][name]
        print(f"{name:20} {a:12.4f} {b:12.4f} {a / b:12.3f}")
    if args.json:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        args.json.write_text(
            json.dumps(
                {
                    "date": time.strftime("%Y-%m-%d"),
                    "commit": commit,
                    "machine": platform.processor() or platform.machine(),
                    "device": report["device"],
                    "faiss": faiss.__version__,
                    "threads": args.threads,
                    "rows": n,
                    "d": d,
                    "nlist": nlist,
                    **figures,
                },
                indent=1,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
