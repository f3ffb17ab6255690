"""Pictures a second that ``phantom-edge data scenes`` draws and writes, beside one picture: what starting it takes.

python -m benchmarks.scenes --out benchmarks/results/scenes.json
"""

from benchmarks.harness import begin, edge, machine


def main() -> None:
    """Time the command."""
    bench = begin("scenes", __doc__, pictures=4000, workers=2)
    pictures, workers = bench.asked.pictures, bench.asked.workers
    folder = bench.scratch / "scenes"
    start, seconds = (
        edge("data", "scenes", folder, "--pictures", count, "--workers", workers, "--force")["seconds"]
        for count in (1, pictures)
    )
    document = {
        "pictures": pictures,
        "workers": workers,
        "start_seconds": start,
        "seconds": seconds,
        "pictures_per_second": round((pictures - 1) / (seconds - start)),
        "machine": machine(),
    }
    bench.write(document)


if __name__ == "__main__":
    main()
