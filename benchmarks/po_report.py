"""Tables and plots of docs/po-study.md, from what ``po_study`` left: ``python -m benchmarks.po_report`` draws."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.markdown import lines

ROOT = Path(__file__).resolve().parents[1]
OBJECTIVES = ("SFT only", "PO in step 1", "PO in both")
ETA = 1.0
Run = dict[str, Any]


def accuracy(run: Run, branch_off: bool = False) -> float:
    """Share of the test questions answered exactly right; with the branch switched off, of those about fewer scenes."""
    right, asked = np.array(run["pictures_branch_off" if branch_off else "pictures"]).sum(0)
    return float(right / asked)


def change_without_branch(run: Run) -> float:
    """The effect of switching the trained branch off, on the scenes where it was measured."""
    count = len(run["pictures_branch_off"])
    right, asked = np.array(run["pictures"][:count]).sum(0)
    return accuracy(run, branch_off=True) - float(right / asked)


def chosen(runs: Sequence[Run], eta: float | str | None, objectives: str | None) -> list[Run]:
    """The runs of a cell, by seed."""
    found = [run for run in runs if run["eta"] == eta and run["objectives"] == objectives]
    return sorted(found, key=lambda run: run["seed"])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval over seeds."""
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def mean_text(values: Sequence[float], sign: str = "") -> str:
    """A mean and its interval, in points; of one seed the value alone."""
    if len(values) == 1:
        return f"{100 * values[0]:{sign}.1f}"
    mean, low, high = (100 * value for value in interval(values))
    return f"{mean:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def cells(document: Run) -> str:
    """The six cells."""
    rows, runs = [], document["runs"]
    for eta, name in ((None, "no"), (ETA, "yes")):
        for objectives in OBJECTIVES:
            cell = chosen(runs, eta, objectives)
            rows.append(
                (
                    name,
                    objectives,
                    mean_text([accuracy(run) for run in cell]),
                    ", ".join(f"{100 * accuracy(run):.1f}" for run in cell),
                    f"{100 * np.mean([run['preference_accuracy'] for run in cell]):.1f}",
                    f"{np.mean([run['margin'] for run in cell]):.2f}",
                )
            )
    columns = ("phantom dimension", "objectives", "right, % (95 % over seeds)", "each seed")
    return lines((*columns, "chosen over rejected, %", "margin, nats a token"), rows)


def differences(document: Run) -> str:
    """Paired by seed: same seed, same scenes, same order."""
    runs = document["runs"]

    def gap(one: tuple[Any, Any], other: tuple[Any, Any]) -> list[float]:
        pairs = zip(chosen(runs, *one), chosen(runs, *other), strict=True)
        return [accuracy(first) - accuracy(second) for first, second in pairs]

    rows = [
        (f"phantom dimension, {objectives}", mean_text(gap((ETA, objectives), (None, objectives)), "+"))
        for objectives in OBJECTIVES
    ]
    rows += [
        (f"{objectives} instead of SFT only, {name}", mean_text(gap((eta, objectives), (eta, OBJECTIVES[0])), "+"))
        for eta, name in ((None, "without the phantom dimension"), (ETA, "with it"))
        for objectives in OBJECTIVES[1:]
    ]
    return lines(("what is added", "points (95 % over seeds)"), rows)


def kinds(document: Run) -> str:
    """Each kind of question, means over seeds."""
    cells = [(eta, objectives) for eta in (None, ETA) for objectives in OBJECTIVES]
    rows, runs = [], document["runs"]
    for kind in runs[0]["kinds"]:
        shares = [np.mean([np.divide(*run["kinds"][kind]) for run in chosen(runs, *cell)]) for cell in cells]
        rows.append((kind, *(f"{100 * share:.1f}" for share in shares)))
    return lines(("kind", *(f"{'phantom' if eta else 'plain'}, {objectives}" for eta, objectives in cells)), rows)


def etas(runs: Sequence[Run]) -> list[float | str | None]:
    """Every eta that a base was trained with; None is without the phantom dimension."""
    known = {run["eta"] for run in runs if run["objectives"] is None}
    return sorted(known, key=lambda eta: (eta is not None, eta == "learned", 0 if isinstance(eta, str) else eta or 0))


def shared(runs: Sequence[Run]) -> list[Run]:
    """The bases of the seeds that every eta was trained with: only those can be compared."""
    bases = [run for run in runs if run["objectives"] is None]
    seeds = set.intersection(*({run["seed"] for run in chosen(bases, eta, None)} for eta in etas(bases)))
    return [run for run in bases if run["seed"] in seeds]


def eta_table(document: Run) -> str:
    """Bases after reading, before the two steps."""
    rows, runs = [], shared(document["runs"])
    for eta in etas(runs):
        cell = chosen(runs, eta, None)
        branch = np.array([run["branch"] for run in cell])
        final = [np.mean([loss for _, _, loss in run["losses"][-5:]]) for run in cell]
        learned = np.array([run["etas"] for run in cell]) if eta == "learned" else None
        rows.append(
            (
                "no phantom" if eta is None else f"{eta:g}" if isinstance(eta, float) else "learned",
                mean_text([accuracy(run) for run in cell]),
                f"{np.mean(final):.3f}",
                "-" if eta is None else f"{100 * np.mean([change_without_branch(run) for run in cell]):+.1f}",
                "-" if eta is None else ", ".join(f"{share:.2g}" for share in branch.mean(0)),
                "-" if learned is None else ", ".join(f"{value:.2f}" for value in learned.mean(axis=(0, 2))),
            )
        )
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    columns = ("eta", f"right, %, seed {seeds}", "SFT loss at the end, nats a token", "branch off, points")
    return lines((*columns, "branch over v, by layer", "learned eta, by layer"), rows)


def draw_cells(runs: Sequence[Run], path: Path) -> None:
    """Dots for seeds, a bar for the mean."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for place, (eta, objectives) in enumerate((eta, o) for eta in (None, ETA) for o in OBJECTIVES):
        values = [100 * accuracy(run) for run in chosen(runs, eta, objectives)]
        colour = "tab:grey" if eta is None else "tab:purple"
        axes.scatter([place] * len(values), values, color=colour, zorder=3)
        mean, low, high = interval(values)
        axes.errorbar(place + 0.18, mean, [[mean - low], [high - mean]], color=colour, marker="_", capsize=4)
    axes.set_xticks(range(6), [*OBJECTIVES, *OBJECTIVES], fontsize=8)
    axes.set_xlabel("without (grey) and with (purple) the phantom dimension")
    axes.set_ylabel("right, %")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_losses(runs: Sequence[Run], path: Path) -> None:
    """Loss of the bases, mean over the seeds that all have."""
    runs = shared(runs)
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for eta in etas(runs):
        cell = chosen(runs, eta, None)
        steps = [step for _, step, _ in cell[0]["losses"]]
        mean = np.mean([[loss for _, _, loss in run["losses"]] for run in cell], axis=0)
        label = "no phantom" if eta is None else f"eta {eta}"
        axes.plot(steps, mean, label=label, color="black" if eta is None else None, lw=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("SFT loss, nats a token")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Draw both plots."""
    import matplotlib

    matplotlib.use("Agg")
    runs = json.loads((ROOT / "benchmarks" / "results" / "po-study.json").read_text(encoding="utf-8"))["runs"]
    draw_cells(runs, ROOT / "docs" / "po-study.png")
    draw_losses(runs, ROOT / "docs" / "po-study-eta.png")


if __name__ == "__main__":
    main()
