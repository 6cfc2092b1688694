#!/usr/bin/env python3
"""This engine beside scikit-learn's MiniBatchKMeans as RVC calls it, on the same rows, in one run.

usage: mini_batch.py VOICE_DIR [--clusters 10000] [--rows N] [--methods mini-batch,lloyd:4] [--device SELECTOR] [--threads N]
                     [--repeat N] [--json FILE]

Needs scikit-learn, faiss-cpu and numpy, and `cargo build --release` first. The rows are N of the voice's, drawn at random
and kept in their order. A method is followed by its number of passes, if any. RVC's batches have 256 rows a core. Seconds
are the best of the repeats, without reading on scikit-learn's side and with it on ours. faiss judges both: the mean
squared distance of all rows to their nearest centroids.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import ROOT, mean_squared_distance, read_voice, write_record

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("voice", type=Path)
parser.add_argument("--clusters", type=int, default=10_000)
parser.add_argument("--rows", type=int)
parser.add_argument("--methods", type=lambda text: text.split(","), default=["mini-batch"])
parser.add_argument("--device", default="cpu")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--json", type=Path)
args = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = str(args.threads)

import numpy as np  # noqa: E402  (these read the number of threads when they load)
import sklearn  # noqa: E402
from sklearn.cluster import MiniBatchKMeans  # noqa: E402



def read_rows():
    rows = read_voice(args.voice)
    if args.rows and args.rows < len(rows):
        rows = rows[np.sort(np.random.default_rng(1).choice(len(rows), args.rows, replace=False))]
    return rows


def theirs(rows, seed):
    """RVC's own call, with a seed; the centroids, and how it went."""
    model = MiniBatchKMeans(
        n_clusters=args.clusters,
        batch_size=256 * args.threads,
        compute_labels=False,
        init="random",
        random_state=seed,
    )
    start = time.perf_counter()
    # RVC shuffles the rows before.
    model.fit(rows)
    seconds = time.perf_counter() - start
    return model.cluster_centers_, {"seconds": seconds, "passes": model.n_steps_ * 256 * args.threads / len(rows)}


def ours(voice, file, method, seed):
    name, _, passes = method.partition(":")
    command = [ROOT / "target/release/rvc-gpu-index", "compress", voice, "-o", file, "--clusters", args.clusters]
    command += ["--method", name, "--seed", seed, "--device", args.device, "--force", "--json", "--quiet"]
    command += ["--iterations", passes] if passes else []
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    figures = {"seconds": report["seconds"]["compress"], "passes": report["iterations"]}
    return np.load(file), figures, report["device"]


def best(runs):
    """The errors' mean, and the least seconds."""
    mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    return mean | {"seconds": min(run["seconds"] for run in runs)}


def main():
    rows = read_rows()
    n, d = rows.shape
    runs = {name: [] for name in ["scikit-learn", *args.methods]}
    with tempfile.TemporaryDirectory() as folder:
        voice, file = Path(folder) / "voice.npy", Path(folder) / "centroids.npy"
        np.save(voice, rows)
        for seed in range(1, args.repeat + 1):
            for method in args.methods:
                centroids, figures, device = ours(voice, file, method, seed)
                runs[method].append(figures | {"error a row": mean_squared_distance(rows, centroids)})
            centroids, figures = theirs(rows, seed)
            runs["scikit-learn"].append(figures | {"error a row": mean_squared_distance(rows, centroids)})

    figures = {name: best(of) for name, of in runs.items()}
    peer = figures["scikit-learn"]
    print(f"{n} x {d} to {args.clusters}, {args.threads} threads, device {device['name']}, best of {args.repeat}")
    print(f"{'':16} {'passes':>8} {'seconds':>10} {'ratio':>8} {'error a row':>13} {'ratio':>8}")
    for name, of in figures.items():
        seconds, mean = of["seconds"], of["error a row"]
        ratios = seconds / peer["seconds"], mean / peer["error a row"]
        print(f"{name:16} {of['passes']:8.2f} {seconds:10.2f} {ratios[0]:8.3f} {mean:13.3f} {ratios[1]:8.4f}")
    if args.json:
        facts = {"device": device, "scikit-learn": sklearn.__version__, "threads": args.threads, "rows": n, "d": d}
        write_record(args.json, **facts, clusters=args.clusters, runs=runs)


if __name__ == "__main__":
    main()
