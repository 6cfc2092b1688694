#!/usr/bin/env python3
"""Live calls beside faiss: a few frames at a time, a thousand times, in one run and on the same index files.

usage: faiss_live.py VOICE_DIR QUERIES.npy [--frames 16,28,78] [--calls 1000] [--threads N] [--json FILE]

Needs faiss-cpu and numpy, and `cargo build --release` first. faiss builds RVC's IVF,Flat and PQ,RFlat with half as many
parts as columns; both sides search these files at each nprobe and k_factor of a grid, call after call. Printed are the
median and the 99th percentile at RVC's own nprobe 1, and at the fastest setting of each side that finds 95 % and 99 % of
the 8 nearest rows.
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
parser.add_argument("--frames", type=numbers, default=[16, 28, 78])
parser.add_argument("--calls", type=int, default=1000)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--json", type=Path)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)

import faiss  # noqa: E402  (reads OMP_NUM_THREADS when it loads)
import numpy as np  # noqa: E402

K, WARM_UP = 8, 20
NPROBES, K_FACTORS = [1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32]
RECALLS = [0.95, 0.99]
OURS = ROOT / "target/release/rvc-gpu-index"


def run(*command):
    done = subprocess.run([OURS, *map(str, command), "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def recall(found, truth):
    return float(np.mean([len(set(a) & set(b)) for a, b in zip(found, truth)]) / K)


def time_theirs(index, queries):
    """Median and 99th percentile, in milliseconds, for each number of frames; calls as `rvc-gpu-index live` makes them."""
    times = {}
    for frames in args.frames:
        starts, seconds = len(queries) - frames + 1, []
        for call in range(-WARM_UP, args.calls):
            first = max(call, 0) * frames % starts
            asked = queries[first : first + frames]
            start = time.perf_counter()
            index.search(asked, K)
            seconds.append(time.perf_counter() - start)
        times[frames] = [1e3 * float(np.percentile(seconds[WARM_UP:], q, method="nearest")) for q in (50, 99)]
    return times


def time_ours(file, asked, *options):
    report = run("live", file, asked, "--device", "cpu", "--frames", ",".join(map(str, args.frames)), "--calls", args.calls, *options)
    return {times["frames"]: [times["search"]["p50"], times["search"]["p99"]] for times in report["times"]}


def measure(index, file, asked, queries, truth, option, value):
    """One setting on both sides."""
    if option == "--nprobe":
        faiss.try_extract_index_ivf(index).nprobe = value
    else:
        faiss.downcast_index(index).k_factor = value
    npz = file.with_suffix(".npz")
    run("search", file, asked, "-o", npz, "--force", "--device", "cpu", option, value)
    return {
        "setting": f"{option[2:].replace('-', '_')} {value}",
        "recall": {"faiss": recall(index.search(queries, K)[1], truth), "ours": recall(np.load(npz)["ids"], truth)},
        "ms": {"faiss": time_theirs(index, queries), "ours": time_ours(file, asked, option, value)},
    }


def fastest(measured, side, least, frames):
    reached = [m for m in measured if m["recall"][side] >= least]
    return min(reached, key=lambda m: m["ms"][side][frames][0], default=None)


def rows_of_table(measured):
    """(what, frames, faiss's setting, ours) with the medians and 99th percentiles."""
    rvc = measured[0]
    for frames in args.frames:
        yield "RVC's nprobe 1", frames, rvc, rvc
    for least in RECALLS:
        for frames in args.frames:
            best = [fastest(measured, side, least, frames) for side in ("faiss", "ours")]
            if all(best):
                yield f"recall {least}", frames, *best


def main():
    rows = read_voice(args.voice)
    queries = np.load(args.queries)[:2000]
    n, d = rows.shape
    nlist = rvc_nlist(n)
    exact = faiss.IndexFlatL2(d)
    exact.add(rows)
    _, truth = exact.search(queries, K)
    grid = [(f"IVF{nlist},Flat", "--nprobe", NPROBES), (f"PQ{d // 2}x4fs,RFlat", "--k-factor", K_FACTORS)]
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        asked, file = Path(folder) / "queries.npy", Path(folder) / "voice.index"
        np.save(asked, queries)
        for factory, option, values in grid:
            index = faiss.index_factory(d, factory)
            index.train(rows)
            index.add(rows)
            faiss.write_index(index, str(file))
            for value in values:
                measured.append({"factory": factory} | measure(index, file, asked, queries, truth, option, value))

    print(f"{n} x {d}, {args.threads} threads, {args.calls} calls; milliseconds")
    print(f"{'':15} {'frames':>6} | {'faiss p50':>9} {'p99':>7} {'recall':>7}  {'setting':35} | {'ours p50':>9} {'p99':>7} {'recall':>7}  {'setting':35} | ratio")
    for what, frames, theirs, ours in rows_of_table(measured):
        cells = []
        for side, best in ("faiss", theirs), ("ours", ours):
            p50, p99 = best["ms"][side][frames]
            cells.append(f"{p50:9.3f} {p99:7.3f} {best['recall'][side]:7.3f}  {best['factory'] + ', ' + best['setting']:35}")
        ratio = ours["ms"]["ours"][frames][0] / theirs["ms"]["faiss"][frames][0]
        print(f"{what:15} {frames:6} | {' | '.join(cells)} | {ratio:.2f}")
    if args.json:
        facts = {"faiss": faiss.__version__, "threads": args.threads, "calls": args.calls, "rows": n, "d": d}
        write_record(args.json, **facts, settings=measured)


if __name__ == "__main__":
    main()
