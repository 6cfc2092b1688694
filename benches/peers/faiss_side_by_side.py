#!/usr/bin/env python3
"""This engine beside faiss on the same rows, in one run: training, adding, what each index finds, and how long searches take.

usage: faiss_side_by_side.py VOICE_DIR QUERIES.npy [--factory IVF,Flat] [--nprobe 1,8] [--k-factor 1,8] [--rows N]
                             [--device SELECTOR] [--threads N] [--repeat N] [--no-searches] [--json FILE]

Needs faiss-cpu and numpy, and `cargo build --release --benches` first. The rows are the voice's first N, `IVF,` takes
RVC's number of lists. faiss judges both: objective and recall are measured with faiss on both indexes. Builds are the
best of the repeats, searches the best of nine after one that warms up, for 16 queries of 99.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import ROOT, read_voice, rvc_nlist, write_record


def numbers(text):
    return [int(number) for number in text.split(",")]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("voice", type=Path)
parser.add_argument("queries", type=Path)
parser.add_argument("--factory", default="IVF,Flat")
parser.add_argument("--nprobe", type=numbers, default=[1, 8])
parser.add_argument("--k-factor", type=numbers, default=[1, 8])
parser.add_argument("--rows", type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--repeat", type=int, default=3)
parser.add_argument("--no-searches", action="store_true", help="time no searches")
parser.add_argument("--json", type=Path)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)

import faiss  # noqa: E402  (reads OMP_NUM_THREADS when it loads)
import numpy as np  # noqa: E402

K, LIVE = 8, 16


def build_theirs(rows, factory):
    """RVC's own steps; returns the index and the seconds of training and adding."""
    index = faiss.index_factory(rows.shape[1], factory)
    start = time.perf_counter()
    index.train(rows)
    trained = time.perf_counter()
    for first in range(0, len(rows), 8192):
        index.add(rows[first : first + 8192])
    return index, trained - start, time.perf_counter() - trained


def run(*command):
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, cwd=ROOT)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def build_ours(voice, file, factory):
    command = ROOT / "target/release/rvc-gpu-index"
    done = subprocess.run(
        [command, "build", voice, "-o", file, "--factory", factory, "--device", args.device, "--force", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def best(search, repeats):
    search()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        search()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def settings(index):
    """(nprobe, k_factor) pairs that mean something for this index, None for what it has not."""
    has_lists = faiss.try_extract_index_ivf(index) is not None
    refines = isinstance(faiss.downcast_index(index), faiss.IndexRefine)
    nprobes = args.nprobe if has_lists else [None]
    return [(p, f) for p in nprobes for f in (args.k_factor if refines else [None])]


def apply(index, nprobe, k_factor):
    if nprobe:
        faiss.try_extract_index_ivf(index).nprobe = nprobe
    if k_factor:
        faiss.downcast_index(index).k_factor = k_factor


def judge(index, rows, queries, truth):
    """Mean squared distance of the rows to their centroids, where there are any, and recall@8 of each setting."""
    figures = {}
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        distances, _ = ivf.quantizer.search(rows, 1)
        figures["objective"] = float(distances.mean())
    for setting in settings(index):
        apply(index, *setting)
        _, found = index.search(queries, K)
        hits = [len(set(a) & set(b)) for a, b in zip(found, truth)]
        figures[f"recall@8 {name(*setting)}"] = float(np.mean(hits) / K)
    return figures


def name(nprobe, k_factor):
    parts = [f"nprobe {nprobe}" if nprobe else "", f"k_factor {k_factor}" if k_factor else ""]
    return ", ".join(part for part in parts if part) or "whole"


def time_searches(index, file, asked, queries):
    """Seconds of both sides, each in the index that it built."""
    texts = [f"{p or '-'}:{f or '-'}" for p, f in settings(index)]
    ours = run("cargo", "bench", "-q", "--bench", "search", "--", file, asked, args.device, *texts)
    figures = {"ours": {}, "faiss": {}}
    for setting, report in zip(settings(index), ours):
        apply(index, *setting)
        label = name(*setting)
        figures["faiss"][f"{len(queries)} queries {label}"] = best(lambda: index.search(queries, K), 9)
        figures["ours"][f"{len(queries)} queries {label}"] = report["seconds"]["best"]
        figures["faiss"][f"{LIVE} queries {label}"] = best(lambda: index.search(queries[:LIVE], K), 99)
        figures["ours"][f"{LIVE} queries {label}"] = report["seconds of 16"]["best"]
    return figures


def main():
    rows = read_voice(args.voice)[: args.rows]
    queries = np.load(args.queries)[:2000]
    n, d = rows.shape
    nlist = rvc_nlist(n)
    factory = args.factory.replace("IVF,", f"IVF{nlist},")
    exact = faiss.IndexFlatL2(d)
    exact.add(rows)
    _, truth = exact.search(queries, K)

    ours, theirs = {"train": [], "add": []}, {"train": [], "add": []}
    with tempfile.TemporaryDirectory() as folder:
        voice, asked, file = [Path(folder) / end for end in ("voice.npy", "queries.npy", "ours.index")]
        np.save(voice, rows)
        np.save(asked, queries)
        for _ in range(args.repeat):
            their_index, train, add = build_theirs(rows, factory)
            theirs["train"].append(train)
            theirs["add"].append(add)
            report = build_ours(voice, file, factory)
            ours["train"].append(report["seconds"]["train"])
            ours["add"].append(report["seconds"]["add"])
        our_index = faiss.read_index(str(file))
        figures = {"ours": {k: min(v) for k, v in ours.items()}, "faiss": {k: min(v) for k, v in theirs.items()}}
        for side in figures.values():
            side["train + add"] = side["train"] + side["add"]
        figures["ours"] |= judge(our_index, rows, queries, truth)
        figures["faiss"] |= judge(their_index, rows, queries, truth)
        if not args.no_searches:
            for side, seconds in time_searches(their_index, file, asked, queries).items():
                figures[side] |= seconds

    print(f"{factory} of {n} x {d}, {args.threads} threads, device {report['device']['name']}")
    print(f"{'':40} {'ours':>12} {'faiss':>12} {'ours/faiss':>12}")
    for label in figures["ours"]:
        a, b = figures["ours"][label], figures["faiss"][label]
        print(f"{label:40} {a:12.5f} {b:12.5f} {a / b:12.3f}")
    if args.json:
        facts = {"device": report["device"], "faiss version": faiss.__version__, "threads": args.threads, "rows": n, "d": d}
        write_record(args.json, **facts, factory=factory, **figures)


if __name__ == "__main__":
    main()
