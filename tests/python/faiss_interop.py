"""faiss on the other side of tests/faiss_interop.rs.

    faiss_interop.py version                  fails where faiss, numpy or scikit-learn is missing
    faiss_interop.py write <options> <file>   builds an index with faiss and writes it; with --added N,M,... it is
                                              written to <file>.untrained, and with so many rows to <file>.N, ...
    faiss_interop.py rows <file> <rows.npy>   saves the rows of an index, as this crate says of kinds that it does not read
    faiss_interop.py describe <file> <rows>   prints what faiss reads, as JSON, and writes its rows as raw float32
    faiss_interop.py search <file> <queries.npy> <ids> <distances> <k>:<nprobe>:<k_factor>...
                                              searches, and writes raw int64 and float32, one setting after the other
    faiss_interop.py expand <rows.npy> <by.npy> <alpha> <num_expand> <file>
                                              expands rows by others with NumPy, and writes them as raw float64
    faiss_interop.py mini-batch <rows.npy> <clusters> <seed> <file>
                                              runs scikit-learn's mini-batch k-means as RVC does on two cores, and writes
                                              the centroids as raw float32
    faiss_interop.py serve                    does any of these again and again: a JSON list of arguments a line comes in,
                                              {"output": ...} or {"error": ...} goes out
"""

import argparse
import contextlib
import io
import json
import sys
import traceback
from importlib.metadata import version

import faiss
import numpy as np

METRICS = {"L2": faiss.METRIC_L2, "InnerProduct": faiss.METRIC_INNER_PRODUCT, "L1": faiss.METRIC_L1}


def ivf_of(index):
    """The IVF part of an index, None where it has none."""
    return faiss.try_extract_index_ivf(index)


def parts_of(index):
    """The refinement around an index and the normalisation before it, None where there is none."""
    index = faiss.downcast_index(index)
    refine = index if isinstance(index, faiss.IndexRefine) else None
    base = faiss.downcast_index(refine.base_index) if refine else index
    return refine, base if isinstance(base, faiss.IndexPreTransform) else None


def read(file):
    index = faiss.read_index(file)
    ivf = ivf_of(index)
    if ivf is not None:
        ivf = faiss.downcast_index(ivf)
        if isinstance(ivf, faiss.IndexIVFPQFastScan):
            # faiss 1.15.1 leaves this pointer null, and follows it to decode a row.
            ivf.fine_quantizer = ivf.pq
    return index


def write(args):
    voice = np.random.default_rng(7).standard_normal((args.ntotal, args.dim)).astype(np.float32)
    index = faiss.index_factory(args.dim, args.factory, METRICS[args.metric])
    ivf = ivf_of(index)
    if ivf is not None:
        ivf.cp.min_points_per_centroid = 1
        ivf.nprobe = args.nprobe
    if args.added:
        faiss.write_index(index, f"{args.file}.untrained")
    if args.stage != "untrained":
        index.train(voice)
    if args.added:
        for count in map(int, args.added.split(",")):
            if count > 0:  # faiss 1.15.1 crashes where it adds none to codes without lists
                index.reset()
                index.add(voice[:count])
            faiss.write_index(index, f"{args.file}.{count}")
        return
    if args.stage == "one-list":
        index.add(np.repeat(voice[:1], args.ntotal, axis=0))
    elif args.stage == "added":
        voice[args.ntotal // 2 :][: args.nan] = np.nan
        index.add(voice)
    if args.direct_map:
        ivf.set_direct_map_type(getattr(faiss.DirectMap, args.direct_map))
    faiss.write_index(index, args.file)


def describe(args):
    index = read(args.file)
    ivf = ivf_of(index)
    refine, normalization = parts_of(index)
    index.reconstruct_n(0, index.ntotal).astype("<f4").tofile(args.rows)
    metric = {number: name for name, number in METRICS.items()}[index.metric_type]
    print(
        json.dumps(
            {
                "d": index.d,
                "ntotal": index.ntotal,
                "metric": metric,
                "is_trained": index.is_trained,
                "l2norm": normalization is not None,
                "k_factor": refine.k_factor if refine else None,
                "nlist": ivf.nlist if ivf else None,
                "nprobe": ivf.nprobe if ivf else None,
            }
        )
    )


def rows(args):
    np.save(args.rows, faiss.read_index(args.file).reconstruct_n())


def search(args):
    index = faiss.read_index(args.file)
    ivf = ivf_of(index)
    queries = np.load(args.queries)
    with open(args.ids, "wb") as all_ids, open(args.distances, "wb") as all_distances:
        for setting in args.settings:
            k, nprobe, k_factor = map(int, setting.split(":"))
            if isinstance(index, faiss.IndexRefine):
                index.k_factor = k_factor
            if ivf is not None:
                ivf.nprobe = nprobe
            distances, ids = index.search(queries, k)
            all_ids.write(ids.astype("<i8").tobytes())
            all_distances.write(distances.astype("<f4").tobytes())


def expand(args):
    """Alpha query expansion as RVC's tuning tips have it, in float64 and with exact neighbours."""
    query, big_npy = (np.load(file).astype(np.float64) for file in (args.rows, args.by))
    query /= np.maximum(np.linalg.norm(query, ord=2, axis=1, keepdims=True), 1e-9)
    big_npy /= np.maximum(np.linalg.norm(big_npy, ord=2, axis=1, keepdims=True), 1e-9)
    neighbor = np.argsort(-(query @ big_npy.T), axis=1, kind="stable")[:, : args.num_expand]
    weight = np.power(np.einsum("nd,nmd->nm", query, big_npy[neighbor]), args.alpha)
    expanded = np.sum(big_npy[neighbor] * np.expand_dims(weight, axis=2), axis=1)
    expanded = expanded / np.maximum(np.linalg.norm(expanded, ord=2, axis=1, keepdims=True), 1e-9)
    expanded.astype("<f8").tofile(args.file)


def mini_batch(args):
    from sklearn.cluster import MiniBatchKMeans  # loads slowly, and no other command needs it

    model = MiniBatchKMeans(
        args.clusters, batch_size=256 * 2, compute_labels=False, init="random", random_state=args.seed
    )
    model.fit(np.load(args.rows)).cluster_centers_.astype("<f4").tofile(args.file)


def answer(parser, line):
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            args = parser.parse_args(json.loads(line))
            args.run(args)
        return {"output": output.getvalue()}
    except Exception:
        return {"error": traceback.format_exc().splitlines()[-1]}


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("version")
    command.set_defaults(run=lambda _: print(faiss.__version__, version("scikit-learn")))

    command = commands.add_parser("write")
    command.add_argument("--factory", required=True)
    command.add_argument("--metric", choices=METRICS, required=True)
    command.add_argument("--dim", type=int, default=8)
    command.add_argument("--ntotal", type=int, default=100)
    command.add_argument("--added")
    command.add_argument("--nan", type=int, default=0)
    command.add_argument("--nprobe", type=int, default=1)
    command.add_argument("--stage", choices=["untrained", "trained", "one-list", "added"], default="added")
    command.add_argument("--direct-map", choices=["Array", "Hashtable"])
    command.add_argument("file")
    command.set_defaults(run=write)

    command = commands.add_parser("describe")
    command.add_argument("file")
    command.add_argument("rows")
    command.set_defaults(run=describe)

    command = commands.add_parser("rows")
    command.add_argument("file")
    command.add_argument("rows")
    command.set_defaults(run=rows)

    command = commands.add_parser("search")
    command.add_argument("file")
    command.add_argument("queries")
    command.add_argument("ids")
    command.add_argument("distances")
    command.add_argument("settings", nargs="+")
    command.set_defaults(run=search)

    command = commands.add_parser("expand")
    command.add_argument("rows")
    command.add_argument("by")
    command.add_argument("alpha", type=float)
    command.add_argument("num_expand", type=int)
    command.add_argument("file")
    command.set_defaults(run=expand)

    command = commands.add_parser("mini-batch")
    command.add_argument("rows")
    command.add_argument("clusters", type=int)
    command.add_argument("seed", type=int)
    command.add_argument("file")
    command.set_defaults(run=mini_batch)

    command = commands.add_parser("serve")
    command.set_defaults(run=lambda _: [print(json.dumps(answer(parser, line)), flush=True) for line in sys.stdin])

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
