#!/usr/bin/env python3
"""This engine's k-means beside others, on the same rows, in one run.

usage: k_means.py VOICE_DIR_OR_NPY [--rows N] [--nlist N] [--iterations 10] [--peers lloyd,super,sklearn,torch,flash]
                  [--device SELECTOR] [--torch-device cuda] [--threads N] [--repeat N] [--json FILE]

    lloyd    faiss.Clustering                      super  faiss.SuperKMeans, where faiss has it
    sklearn  KMeans with random centroids (slow)   torch  batches of plain PyTorch
    flash    flash-kmeans, on CUDA alone

Needs faiss-cpu and numpy, and `cargo build --release` first; what else is not installed is named and left out. The rows
are the voice's first N, the lists are RVC's number. Seconds are the best of the repeats, from rows in the host's memory
(ours from a file) to centroids there; torch and flash are run once before, to compile. faiss judges all: the objective
is the mean squared distance of all rows to their nearest centroids.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common import ROOT, mean_squared_distance, read_voice, rvc_nlist, write_record

PEERS = ["lloyd", "super", "sklearn", "torch", "flash"]


def peers(text):
    names = text.split(",")
    if unknown := set(names) - set(PEERS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose of {', '.join(PEERS)}")
    return names


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("voice", type=Path)
parser.add_argument("--rows", type=int)
parser.add_argument("--nlist", type=int)
parser.add_argument("--iterations", type=int, default=10)
parser.add_argument("--peers", type=peers, default=["lloyd", "super", "torch", "flash"])
parser.add_argument("--device", default="cpu")
parser.add_argument("--torch-device", default="cuda")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--json", type=Path)
args = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = str(args.threads)

import faiss  # noqa: E402  (these read the number of threads when they load)
import numpy as np  # noqa: E402

# faiss's default, and ours: of more rows k-means takes a sample.
MOST_A_LIST = 256


class Missing(Exception):
    """A peer that cannot be run here, and why."""


def ours(folder, nlist, seed):
    """The centroids, their seconds, and the device."""
    file = folder / "ours.index"
    command = [ROOT / "target/release/rvc-gpu-index", "build", folder / "voice.npy", "-o", file]
    command += ["--factory", f"IVF{nlist},Flat", "--iterations", args.iterations, "--seed", seed]
    command += ["--device", args.device, "--force", "--json", "--quiet"]
    report = json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout)
    index = faiss.read_index(str(file))
    return index.quantizer.reconstruct_n(0, nlist), report["seconds"]["train"], report["device"]


def lloyd(rows, nlist, seed):
    model = faiss.Clustering(rows.shape[1], nlist)
    model.niter, model.max_points_per_centroid, model.seed = args.iterations, MOST_A_LIST, seed
    model.train(rows, faiss.IndexFlatL2(rows.shape[1]))
    return faiss.vector_to_array(model.centroids).reshape(nlist, -1)


def super_k_means(rows, nlist, seed):
    if not hasattr(faiss, "SuperKMeans"):
        raise Missing(f"faiss {faiss.__version__} has no SuperKMeans")
    params = faiss.SuperKMeansParameters()
    params.niter, params.max_points_per_centroid, params.seed = args.iterations, MOST_A_LIST, seed
    model = faiss.SuperKMeans(rows.shape[1], nlist, params)
    model.train(rows)
    return faiss.vector_to_array(model.centroids).reshape(nlist, -1)


def sklearn(rows, nlist, seed):
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise Missing("scikit-learn is not installed") from error
    model = KMeans(nlist, init="random", n_init=1, max_iter=args.iterations, tol=0, algorithm="lloyd", random_state=seed)
    return model.fit(rows).cluster_centers_


def on_torch(rows):
    """PyTorch, and the rows on its device."""
    try:
        import torch
    except ImportError as error:
        raise Missing("torch is not installed") from error
    if args.torch_device.startswith("cuda") and not torch.cuda.is_available():
        raise Missing("torch finds no CUDA device (torch alone runs with --torch-device cpu)")
    torch.set_num_threads(args.threads)
    return torch, torch.from_numpy(rows).to(args.torch_device)


def torch_k_means(rows, nlist, seed):
    torch, rows = on_torch(rows)
    draw = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    centroids = rows[draw[:nlist].to(rows.device)]
    # As many rows as make a GiB of distances.
    batch = max(1, (1 << 28) // nlist)
    for _ in range(args.iterations):
        sums, counts = torch.zeros_like(centroids), torch.zeros(nlist, device=rows.device)
        bias = centroids.square().sum(1)
        for part in rows.split(batch):
            labels = torch.addmm(bias, part, centroids.T, alpha=-2).argmin(1)
            sums.index_add_(0, labels, part)
            counts += torch.bincount(labels, minlength=nlist)
        # A centroid without rows stays where it is.
        centroids = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centroids)
    return centroids.cpu().numpy()


def flash(rows, nlist, seed):
    torch, rows = on_torch(rows)
    try:
        from flash_kmeans import batch_kmeans_Euclid
    except ImportError as error:
        raise Missing("flash-kmeans is not installed") from error
    if rows.device.type != "cuda":
        raise Missing("flash-kmeans runs on CUDA alone")
    torch.manual_seed(seed)
    _, centroids, _ = batch_kmeans_Euclid(rows[None], n_clusters=nlist, max_iters=args.iterations, tol=0.0)
    return centroids[0].float().cpu().numpy()


RUN = dict(zip(PEERS, [lloyd, super_k_means, sklearn, torch_k_means, flash]))
COMPILED = {"torch", "flash"}


def best(runs):
    """The objectives' mean, and the least seconds."""
    mean = float(np.mean([run["objective"] for run in runs]))
    return {"seconds": min(run["seconds"] for run in runs), "objective": mean}


def versions(names):
    """Of the packages that the peers of these names are from."""
    packages = {"sklearn": ["scikit-learn"], "torch": ["torch"], "flash": ["torch", "flash-kmeans"]}
    used = {package for name in names for package in packages.get(name, [])}
    found = {"faiss": faiss.__version__}
    for package in sorted(used):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def main():
    rows = read_voice(args.voice)[: args.rows]
    n, d = rows.shape
    nlist = args.nlist or rvc_nlist(n)
    runs, missing = {"ours": []}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "voice.npy", rows)
        for seed in range(1, args.repeat + 1):
            centroids, seconds, device = ours(folder, nlist, seed)
            runs["ours"].append({"seconds": seconds, "objective": mean_squared_distance(rows, centroids)})
    for peer in args.peers:
        try:
            if peer in COMPILED:
                RUN[peer](rows, nlist, 0)
            for seed in range(1, args.repeat + 1):
                start = time.perf_counter()
                centroids = RUN[peer](rows, nlist, seed)
                seconds = time.perf_counter() - start
                runs.setdefault(peer, []).append({"seconds": seconds, "objective": mean_squared_distance(rows, centroids)})
        except Missing as reason:
            missing[peer] = str(reason)

    figures = {name: best(of) for name, of in runs.items()}
    print(f"{n} x {d} to {nlist}, {args.iterations} passes, {args.threads} threads, device {device['name']}")
    print(f"{'':10} {'seconds':>10} {'ours/peer':>10} {'objective':>12} {'ours/peer':>10}")
    for name, of in figures.items():
        ratios = [figures["ours"][key] / of[key] for key in ("seconds", "objective")]
        print(f"{name:10} {of['seconds']:10.3f} {ratios[0]:10.3f} {of['objective']:12.3f} {ratios[1]:10.4f}")
    for name, reason in missing.items():
        print(f"{name:10} left out: {reason}")
    if args.json:
        facts = {"device": device, "versions": versions(runs), "threads": args.threads, "rows": n, "d": d, "nlist": nlist}
        write_record(args.json, **facts, iterations=args.iterations, **{"left out": missing}, runs=runs)


if __name__ == "__main__":
    main()
