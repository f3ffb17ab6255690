"""Tables about bundles: quality and speed of quantized ones, and what each target makes of a model."""

from collections.abc import Callable
from typing import Any

from benchmarks.markdown import Columns, Row, named, span, table

LOST = "{points_lost:+.1f} ({points_lost_interval[0]:+.1f} to {points_lost_interval[1]:+.1f})"


def beside(column: str | Callable[[Row], str]) -> Callable[[Row], str]:
    """A dash in the row that others are held against."""
    return lambda row: "-" if row["is_base"] else column(row) if callable(column) else column.format_map(row)


ANSWERS: Columns = {
    "right": "{right:.1f} %",
    "points lost": beside(LOST),
    "divergence, nats": beside("{divergence_nats:.1e}"),
    "same token": beside(lambda row: f"{100 * row['same_token']:.2f} %"),
}


def answered(rows: dict[str, Row]) -> list[dict[str, Any]]:
    """Rows of ``ANSWERS``: the first is the base."""
    return [{**row, "is_base": number == 0} for number, row in enumerate(named(rows))]


def quality(document: Row) -> str:
    """The cost of quantizing."""
    columns: Columns = {
        "weights": "{name}",
        "bundle": "{megabytes:.1f} MB",
        "cache per token": lambda row: f"{row['cache_bytes_per_token'] / 1e3:.1f} KB",
        **ANSWERS,
    }
    asked, shown = f"{document['questions']:,} questions", f"{document['pictures']:,} new pictures"
    return (
        f"What it costs: the same {asked} about {shown} to bundles of phantom-nano, each run by ONNX\nRuntime "
        "(`benchmarks/quality.py`). *Points lost* beside fp32 are of the same questions, with 95 % intervals over "
        "pictures;\n*divergence* and *same token* are of every token of the right answers. Calibrated on "
        f"{document['calibration_questions']} questions.\n\n{table(columns, answered(document['rows']))}"
    )


def targets(document: Row) -> str:
    """The same weights on every target."""
    columns: Columns = {"weights, target": "{name}", "bundle": "{megabytes:.1f} MB", **ANSWERS}
    return (
        f"The same {document['questions']:,} questions about {document['pictures']:,} new pictures to phantom-nano "
        f"(`benchmarks/targets.py`), ONNX graphs in\nONNX Runtime, Core ML packages in the interpreter, programs in "
        f"ExecuTorch:\n\n{table(columns, answered(document['rows']))}"
    )


def speeds(row: Row) -> list[str]:
    """Names of tokens a second that have a ratio beside them."""
    return [name for name in row if name.startswith(("prefill", "decode")) and not name.partition("_")[2].count("_")]


def speeds_of(document: Row) -> Columns:
    """Columns of tokens a second, and the ratios to the base; without one where there was none."""

    def said(row: Row, name: str) -> str:
        ratios = [f"{row[key]:.2f}x" for key in (f"{name}_ratio", f"{name}_ratio_equal") if key in row]
        return f"{row[name]:.1f}" + (f" ({', '.join(ratios)})" if ratios else "")

    return {
        name.replace("_", " at "): lambda row, name=name: said(row, name)  # type: ignore[misc]
        for name in speeds(document["rows"][0])
    }


def peers(document: Row) -> str:
    """Quantized decoders beside others."""
    return table({"system": "{system}", "threads": "{threads}", **speeds_of(document)}, document["rows"])


def peers_ranges(document: Row) -> str:
    """The slowest and the fastest turn of each."""

    def ends(name: str) -> Callable[[Row], str]:
        return lambda row: "{:.1f} to {:.1f}".format(*row[f"{name}_range"])

    columns = {name.replace("_", " at "): ends(name) for name in speeds(document["rows"][0])}
    return table({"system": "{system}", "threads": "{threads}", **columns}, document["rows"])


def peers_files(document: Row) -> str:
    """What each system takes on the disk, in memory, and to make."""
    columns: Columns = {
        "system": "{system}",
        "block": lambda row: f"{row['block']}" if row["block"] else "a row",
        "head": "{head} bits",
        "files": "{megabytes} MB",
        "export": lambda row: f"{row['export_minutes']:.1f} min" if "export_minutes" in row else "-",
        "load": "{load_seconds:.1f} s",
        "peak memory": "{peak_megabytes:,} MB",
        "in huge pages": "{huge_megabytes:,} MB",
    }
    return table(columns, [row for row in document["rows"] if row["threads"] == 1])


def vision(document: Row) -> str:
    """A tile by the numbers that it is computed with."""

    def timed(form: str) -> Callable[[Row], str]:
        return lambda row: f"{row['milliseconds'][form]:,.1f} ms ({row['ratio'][form]:.2f}x)"

    def picture(form: str) -> Callable[[Row], str]:
        return lambda row: f"{row['milliseconds'][form] * document['tiles'] / 1e3:.2f} s"

    columns: Columns = {
        "tower": "{name}, {pixels} px",
        "fp32": "{milliseconds[fp32]:,.1f} ms",
        "int8": timed("int8"),
        "w8a8": timed("w8a8"),
        f"{document['tiles']} tiles, fp32": picture("fp32"),
        f"{document['tiles']} tiles, w8a8": picture("w8a8"),
    }
    return (
        "A tile in ONNX Runtime, one thread, CPU time, in turns (`benchmarks/vision.py`); how many times as fast as "
        "float32\nit is. *w8a8* has the scales of activations before linear layers from calibration.\n\n"
        f"{table(columns, named(document['rows']))}"
    )


def programs(document: Row) -> str:
    """ExecuTorch programs of a real shape beside ONNX Runtime."""

    def about(format: str) -> Callable[[Row], str]:
        return lambda row: format.format_map(document["bundles"][row["system"]])

    columns: Columns = {
        "weights, phantom, target": "{system}",
        "threads": "{threads}",
        "export": lambda row: (
            f"{document['bundles'][row['system']]['seconds'] / 60:.1f} min, {about('{peak_megabytes:,} MB')(row)}"
        ),
        "bundle": about("{megabytes:,} MB"),
        "row": lambda row: span(document["bundles"][row["system"]]["row_widths"]),
        "memory": "{peak_megabytes:,} MB",
        **speeds_of(document),
    }
    return table(columns, document["rows"])


def litert(document: Row) -> str:
    """Sessions, and LiteRT-LM itself."""
    columns: Columns = {
        "weights, target": "{name}",
        "bundle": "{megabytes:.1f} MB",
        "right": "{right:.1f} %",
        "points lost": beside(LOST),
        "LiteRT-LM, right": lambda row: f"{row['right_in_litert_lm']:.1f} %" if "right_in_litert_lm" in row else "-",
        "its answer is ours": lambda row: (
            f"{100 * row['same_in_litert_lm']:.1f} %" if "same_in_litert_lm" in row else "-"
        ),
    }
    return (
        f"The same {document['questions']:,} questions about {document['pictures']:,} new pictures to phantom-nano "
        "(`benchmarks/litert.py`), by our sessions\nand by LiteRT-LM's own engine, which loads the container of the "
        "same bundle (not counted here: it is as large again);\n*points lost* beside fp32, onnx:\n\n"
        f"{table(columns, answered(document['rows']))}"
    )


def litert_placement(document: Row) -> str:
    """Operators on NPUs: Qualcomm's as compiled, of the others by list."""

    def listed(maker: str) -> Callable[[Row], str]:
        return lambda row: "".join(
            [f"{row[maker]['placed']} of {row['operators']}", *(f", not {kind}" for kind in sorted(row[maker]["left"]))]
        )

    def by_compiler(row: Row) -> str:
        found = row["compiled"]
        return "not compiled" if found is None else f"{found['placed']} of {found['operators']}"

    columns: Columns = {
        "weights, form": "{form}",
        "part": "{part}",
        "Qualcomm, compiled": by_compiler,
        "MediaTek, by list": listed("MediaTek"),
        "Google, by list": listed("Google"),
        "Samsung, by list": listed("Samsung"),
    }
    rows = []
    for form, row in document["rows"].items():
        for part, counts in row["parts"].items():
            found = row.get("qualcomm", {}).get("vision" if part == "vision" else "decoder")
            one = None if found is None else found["graphs"][{"chunk": 1}.get(part, 0)]
            rows.append({"form": form, "part": part, "compiled": one, **counts})
    return (
        f"Operators of phantom-nano's graphs that NPUs take (`benchmarks/litert_placement.py`): by Qualcomm's compiler "
        f"for\n{document['chip']}, and by the lists that the other makers publish "
        "(`export/targets/litert/operator_lists.py`):\n\n"
        f"{table(columns, rows)}"
    )


def web(document: Row) -> str:
    """Forms for WASM beside Python's ONNX Runtime."""

    def both(what: str, format: str) -> Callable[[Row], str]:
        def shown(row: Row) -> str:
            if what not in row:
                return "-"
            speeds = " / ".join(format.format(row[what][name]) for name in ("python", "wasm"))
            return f"{speeds} ({row[f'{what}_ratio']:.2f}x)"

        return shown

    columns: Columns = {
        "bundle": "{bundle}",
        "weights": "{weight_megabytes:,.1f} MB",
        "tiles/s": both("tiles", "{:,.1f}"),
        "prefill": both("prefill", "{:,.1f}"),
        "decode": both("decode", "{:,.1f}"),
        "memory": lambda row: "-" if row["wasm_peak_megabytes"] is None else f"{row['wasm_peak_megabytes']:,} MB",
    }
    return (
        f"One thread of {document['machine']}: Python's ONNX Runtime / ONNX Runtime Web in WASM (Node "
        f"{document['node']}), the same\ngraphs and weights, in turns (`benchmarks/web.py`); tokens and tiles in a "
        "second of CPU time, and the ratio of WASM to\nPython, the median over turns. *web* is the form of this "
        "target, *onnx* that of the other. *Memory* is the peak of the\nprocess with WASM. WebGPU is unmeasured.\n\n"
        f"{table(columns, document['rows'])}"
    )


def packages(document: Row) -> str:
    """Core ML packages of a real shape."""
    columns: Columns = {
        "weights, profile": "{weights}, {compute}",
        "time": lambda row: f"{row['seconds'] / 60:.1f} min",
        "peak memory": "{peak_megabytes:,} MB",
        "vision": "{vision_megabytes:,} MB",
        "decoder": "{decoder_megabytes:,} MB",
        "operators a token": "{operations[decoder]:,}",
        "eligible": lambda row: ", ".join(
            f"{part} {share:.1%}" for part, share in row["eligible"].items() if part != "decoder"
        ),
    }
    return table(columns, document["rows"])


def backends(document: Row) -> str:
    """Shares that backends of ExecuTorch take."""

    def outside(row: Row) -> str:
        if "error" in row:
            return str(row["error"])
        shown = ", ".join(f"`{name}` {count}" for name, count in list(row["outside"].items())[:5]) or "nothing"
        rest = len(row["outside"]) - 5
        return f"{shown} and {rest} more kinds" if rest > 0 else shown

    def lowered(column: str) -> Callable[[Row], str]:
        return lambda row: "-" if "error" in row else column.format_map(row)

    columns: Columns = {
        "backend, method": lambda row: ", ".join(row[name] for name in ("backend", "method") if name in row),
        "subgraphs": lowered("{subgraphs}"),
        "operators": lowered("{share_of_operators:.1%}"),
        "multiply-adds": lowered("{share_of_multiply_adds:.1%}"),
        "outside of it": outside,
    }
    return table(columns, document["rows"])


def qnn(document: Row) -> str:
    """Bundles for Qualcomm's processor in its simulator."""
    columns: Columns = {
        "weights, chip": "{name}",
        "operators, all on it": "{operators:,}",
        "files": "{megabytes_on_a_device} MB",
        "questions": "{questions:,}",
        "right": "{right:.1f} %",
        "in ONNX Runtime": "{right_in_onnx_runtime:.1f} %",
        "points lost": LOST,
        "same token": "{same_token:.2%} of {steps:,}",
    }
    return table(columns, named(document["rows"]))


def qnn_large(document: Row) -> str:
    """The same of the 0.5B shape."""

    def worst(part: str) -> Callable[[Row], str]:
        return lambda row: f"{min(one['decibels'] for one in row['layers']['layers'] if one['part'] == part):.1f} dB"

    columns: Columns = {
        "weights": "{name}",
        "export": lambda row: (
            f"{sum(row['export']['seconds'].values()) / 60:.0f} min, {row['export']['export_peak_megabytes']:,} MB"
        ),
        "decoder's operators, all on it": "{export[operators][decoder]:,}",
        "decoder": "{export[megabytes][decoder]:,} MB",
        "logits after a chunk": "{steps[decibels_prefill]:.1f} dB",
        "of single tokens": "{steps[decibels_steps]:.1f} dB",
        "same token": "{steps[same_token]} of {steps[steps]}",
        "worst layer of vision": worst("vision"),
        "of the decoder": worst("prefill"),
    }
    return table(columns, named(document["rows"]))


def phantom_fp16(document: Row) -> str:
    """The phantom dimension in float16."""
    dim = document["head_dim"]
    columns: Columns = {
        "eta": "{eta:g}",
        "effect": "{effect:.1e}",
        "lost as written": "{values_lost_as_written:.1%}",
        "small as written": "{keys_small_as_written:.1%}",
        "survives": "{survives:.2f}",
        "noise": "{noise_over_effect:.2g}",
        "keys kept by full": lambda row: f"{span(row['full_key_ranks'])} of {dim}",
        "keys, values kept by auto": lambda row: (
            f"{span(row['auto_key_ranks'])}, {span(row['auto_value_ranks'])} of {dim}"
        ),
        "bound of a logit, a value": "{auto_logit_error:.1e}, {auto_value_error:.1e}",
    }
    return (
        f"{table(columns, document['rows'])}\n\n{document['questions']} questions; rounding alone moves a logit by "
        f"{document['noise']:.1e}, root mean square."
    )
