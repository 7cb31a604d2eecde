"""Hand a dataset over to other tools: a DuckDB file with a view of each table over the Parquet files as they are."""

from __future__ import annotations

from pathlib import Path

from nsys_pipeline.errors import TraceError, UsageError
from nsys_pipeline.fleet import dataset as kept
from nsys_pipeline.fleet.dataset import Dataset
from nsys_pipeline.query.handover import replaced, write_comments, write_macros


def hand_over_views(dataset: Dataset, target: Path, *, force: bool = False) -> Path:
    """Write views over `dataset`, and the public macros, to the DuckDB file `target`; no row is copied.

    Who opens it sees what the dataset holds by then; of a table without rows so far, none. Raises UsageError where
    `target` exists and `force` is not set, or cannot be written; TraceError if the dataset cannot be read.
    """
    import duckdb

    try:
        with replaced(target, force=force) as partial, duckdb.connect(str(partial)) as con:
            dataset.attach(con)
            for table in (*kept.OWN_TABLES, *kept.VIEWS):
                con.execute(f"CREATE VIEW {table} AS {dataset.select(table, 'traces')}")
                if table in kept.VIEWS:
                    write_comments(con, "VIEW", table, kept.view(table))
            con.execute("CREATE SCHEMA macros")
            write_macros(con)
    except OSError as error:
        raise UsageError(f"`{target}` cannot be written: {error.strerror or error}") from error
    except duckdb.Error as error:
        raise TraceError(f"views over `{dataset.url}` cannot be written: {str(error).splitlines()[0]}") from error
    return target
