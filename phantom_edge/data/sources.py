"""Sources of triples: JSON lines, parquet files or WebDataset tars, a row at a time, pictures as paths or bytes.

A triple names its pictures; a sample also holds them: files beside the lines (a name may be a glob), columns of a
parquet file, members of a tar. Nothing is unpacked to disk, and memory holds one row, or one row group of a parquet
file.
"""

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from phantom_edge.data.rows import Row, Sample, picture_paths, row_of
from phantom_edge.data.shards import tar_rows
from phantom_edge.data.triples import numbered_lines, parse_line
from phantom_edge.foundation.errors import EdgeError, need

ROWS_AT_ONCE = 64
REMOTE = ("file://", "hf://", "https://", "http://")


def open_triples(source: Path | str) -> Iterator[Sample]:
    """Yields the samples of ``source``; raises EdgeError at the first faulty row.

    ``source`` is a JSONL, parquet or tar file, or a glob of such ("shards/*.tar"). Parquet files may also be on the
    hub ("hf://datasets/.../*.parquet"); their columns have the names of the lines' fields, with pictures as paths,
    bytes, or the ``{"bytes", "path"}`` of the datasets library.
    """
    for row in rows_of(source):
        if row.sample is None:
            raise EdgeError(
                f"{source}, row {row.place} {row.fault}", f"run: phantom-edge data validate {source}, and fix the row"
            )
        yield row.sample


def rows_of(source: Path | str) -> Iterator[Row]:
    """Yields every row of ``source``, good or faulty, in the order of the files' names."""
    files = _files(source)
    for file in files:
        many = len(files) > 1
        reader = _reader(file)
        for row in reader(file):
            yield Row(f"{Path(file).name}:{row.place}", row.sample, row.fault) if many else row


def is_lines(source: Path | str) -> bool:
    """True where ``source`` is one JSONL file, so that a copy of it can name the same pictures."""
    return _files(source) == [str(source)] and _reader(str(source)) is _line_rows


def _files(source: Path | str) -> list[str]:
    text = str(source)
    if text.startswith(REMOTE) or os.path.exists(text) or not glob.has_magic(text):
        return [text]
    if found := sorted(glob.glob(text, recursive=True)):
        return found
    raise EdgeError(f"no file matches {text}", "give a JSONL, parquet or tar file, or a quoted glob of such files")


def _reader(file: str) -> Callable[[str], Iterator[Row]]:
    if file.startswith(REMOTE) and not file.endswith(".parquet"):
        raise EdgeError(f"{file} is no address of parquet files", "download it first and give the file's path")
    if file.endswith(".parquet"):
        return _remote_rows if file.startswith(REMOTE) else _parquet_rows
    if file.endswith((".tar", ".tar.gz", ".tgz")):
        return tar_rows
    return _line_rows


def _line_rows(file: str) -> Iterator[Row]:
    path = Path(file)
    for number, line in numbered_lines(path):
        try:
            triple = parse_line(line)
            pictures = [picture for name in triple.images for picture in picture_paths(path.parent, name)]
        except ValueError as error:
            yield Row(number, None, str(error))
            continue
        yield Row(number, Sample(triple, tuple(pictures)))


def _parquet_rows(file: str) -> Iterator[Row]:
    """Reads with Arrow itself: the datasets library uses the same reader, but reads the whole file ahead."""
    parquet = need("pyarrow.parquet", "train")
    try:
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            records = (record for batch in table.iter_batches(ROWS_AT_ONCE) for record in batch.to_pylist())
            for number, record in enumerate(records, start=1):
                yield row_of(number, record, Path(file).parent)
    except (OSError, ValueError) as error:  # Arrow's own errors are kinds of these
        raise _unreadable(file, error) from error


def _remote_rows(file: str) -> Iterator[Row]:
    """Reads with the datasets library, which streams from the hub; pictures stay undecoded."""
    datasets = need("datasets", "train")
    try:
        table = datasets.load_dataset("parquet", data_files=file, split="train", streaming=True)
        for number, record in enumerate(table.decode(False), start=1):
            yield row_of(number, record, Path())
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: Exception) -> EdgeError:
    return EdgeError(f"{file} cannot be read: {' '.join(str(error).split())}", "give a whole parquet file")
