"""Read the exports of one job, one for each rank or recording, as if nsys had recorded them together.

Each export counts time from its own start, names its own strings, and numbers the processes and GPUs of its own host.
All of that is brought to one scale here, so that nothing after it knows of more than one export.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import attrs

from nsys_pipeline.duck import quote
from nsys_pipeline.errors import TraceError
from nsys_pipeline.trace.identify import stem_of
from nsys_pipeline.trace.source import ROW_ID, Source, TableLoad
from nsys_pipeline.trace.sqlite_source import SqliteSource

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_HOSTS = 127
_STRINGS = frozenset({"textId", "nameId", "demangledName", "shortName"})
_TIMES = frozenset({"start", "end", "timestamp"})
_THREADS = frozenset({"globalTid", "globalPid", "endGlobalTid"})
_GPUS = frozenset({"deviceId", "gpuId", "cudaId", "cuDevice", "pwGpuId"})
_NEITHER_HARDWARE_NOR_GPU = 0x00FFFFFFFFFFFF00
# Kernels that end together on all ranks.
_COLLECTIVES = ("%AllReduce%", "%AllGather%", "%ReduceScatter%", "%cross_device_reduce%")
_MAX_COLLECTIVES = 2_000
# vLLM's names: `dp1_pp0_tp0_dcp0_ep2_rank0`, whose rank is that within the replica.
_REPLICA = re.compile(r"(?:^|_)dp(?P<dp>\d+)_pp\d+_\w*?rank(?P<rank>\d+)")
_EVENTS = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS")


@attrs.frozen
class Member:
    """One export of the job, with what brings it to the common scale. Times in ns.

    `shift_ns` is added to its times; `moved_ns` is the part of it that sets another host's clock. `clock_error_ns` is
    how far that may be off: 0 on the first export's host, None if nothing says. `replica` is the data-parallel one that
    its name says. `problem` says why it is left out.
    """

    path: Path
    source: Source | None
    rank: int | None
    replica: int | None = None
    host: int = 0
    shift_ns: int = 0
    clock_error_ns: int | None = 0
    moved_ns: int = 0
    device_offset: int = 0
    string_offset: int = 0
    processes: frozenset[int] = frozenset()
    problem: str | None = None


@attrs.frozen
class _Facts:
    """What an export says about where and when it was recorded.

    `session_ns`: start and end of the recording since nsys was started, where the hour is not known.
    """

    epoch_ns: int | None
    session_ns: tuple[int, int] | None
    hostname: str | None
    gpus: frozenset[tuple[object, ...]]
    has_gpu_uuids: bool
    processes: frozenset[int]
    recorded_ns: int | None
    gpu_count: int
    devices: frozenset[int]
    string_count: int
    collectives: tuple[tuple[str, int, int], ...]
    ends: tuple[object, ...]

    @property
    def recording(self) -> tuple[object, ...]:
        """What no other recording has: times in ns of its start, its first events and its last ones."""
        return self.epoch_ns, self.hostname, self.gpus, self.processes, self.ends


class JobSource:
    """Several SQLite exports as one. A member that cannot be read is left out, and said to be; see `members`."""

    def __init__(self, path: Path, sources: Sequence[tuple[Path, Source | TraceError]]) -> None:
        self.path = path
        self.members = _on_one_scale(sources)
        if all(member.source is None for member in self.members):
            first = next(error for _, error in sources if isinstance(error, TraceError))
            raise first
        self._has_loaded = False

    def _readable(self) -> list[tuple[int, Member, Source]]:
        return [
            (index, member, member.source) for index, member in enumerate(self.members) if member.source is not None
        ]

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the tables that any member has, with the columns that any has."""
        merged: dict[str, dict[str, None]] = {}
        for _, _, source in self._readable():
            for table, columns in source.tables().items():
                merged.setdefault(table, {}).update(dict.fromkeys(columns))
        return {table: tuple(columns) for table, columns in merged.items()}

    def types(self, table: str) -> Mapping[str, str]:
        """Columns of the table with the types that the first member with it gives."""
        for _, _, source in self._readable():
            if table in source.tables():
                return source.types(table)
        return {}

    def load(self, con: DuckDBPyConnection, loads: Sequence[TableLoad]) -> None:
        """Load each member's tables beside the targets, then add them to those; see `Source.load`."""
        wide = [load.widened() for load in loads]
        for load in wide:
            con.execute(f"CREATE OR REPLACE TABLE {load.target} ({load.definition})")
        for index, member, source in self._readable():
            own = [attrs.evolve(load, target=_beside(load.target)) for load in wide if load.table in source.tables()]
            try:
                source.load(con, own)
                source.settle()
            except TraceError as error:
                if self._has_loaded or len(self._readable()) == 1:
                    raise
                self.members[index] = attrs.evolve(member, source=None, problem=error.message)
                own_targets: list[TableLoad] = []
            else:
                own_targets = own
            for load in wide:
                if any(each.target == _beside(load.target) for each in own_targets):
                    columns = ", ".join(_moved(name, load, member) for name in load.types)
                    con.execute(f"INSERT INTO {load.target} SELECT {columns} FROM {_beside(load.target)}")  # noqa: S608
            con.execute(";".join(f"DROP TABLE IF EXISTS {each.target}" for each in own))
        self._has_loaded = True

    def files(self) -> list[tuple[object, ...]]:
        """See `Source.files`: a row for each member and process of it that works on a GPU."""
        return [
            (
                i + 1, one.rank, one.host, one.clock_error_ns, process, one.shift_ns, one.replica,
                one.moved_ns, str(one.path.resolve()), one.problem,
            )
            for i, one in enumerate(self.members)
            for process in (*sorted(one.processes),) or (None,)
        ]  # fmt: skip

    def settle(self) -> None:
        """Every member is settled as it is loaded."""

    def rows(self, table: str, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
        """Texts of a small table, of every member; see `Source.rows`."""
        return [
            row for _, _, source in self._readable() if table in source.tables() for row in source.rows(table, columns)
        ]

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        for _, _, source in self._readable():
            source.interrupt()

    def close(self) -> None:
        """Let go of files."""
        for _, _, source in self._readable():
            source.close()


def rank_of(path: Path) -> int | None:
    """Rank that a file's name says: `trace-rank3.sqlite`, `out.3.nsys-rep`, `17.2-TP-3-DP-0.trace.json`; else None."""
    # torch's handler ends names with the time.
    numbers = [] if ".pt.trace." in path.name else re.findall(r"\d+", stem_of(path))
    named = re.search(r"(?:rank[-_.]?|-TP-)(\d+)", path.name, re.IGNORECASE)
    return int(named[1]) if named else int(numbers[-1]) if numbers else None


def _beside(target: str) -> str:
    return f"{target}_OF_MEMBER"


def _moved(name: str, load: TableLoad, member: Member) -> str:
    """The expression that brings a column of a member to the common scale."""
    column = quote(name)
    moved = column
    if name == ROW_ID:
        moved = f"{column} + (SELECT coalesce(max({ROW_ID}), 0) FROM {load.target})"  # noqa: S608
    elif name in _STRINGS or (name, load.table) == ("id", "StringIds"):
        moved = f"{column} + {member.string_offset}"
    elif name == "stringBase":
        moved = str(member.string_offset)
    elif name in _TIMES:
        # Start and end 0: CUPTI could not take the time.
        is_untimed = '"start" = 0 AND "end" = 0' if {"start", "end"} <= load.columns.keys() else "false"
        moved = f"CASE WHEN {is_untimed} THEN {column} ELSE {column} + ({member.shift_ns}) END"
    elif name == "duration":
        moved = f"{column} + ({member.shift_ns})"
    elif name in _THREADS:
        moved = f"{column} + {member.host << 56}"
    elif name in _GPUS or (name, load.table) == ("id", "TARGET_INFO_GPU"):
        moved = f"{column} + {member.device_offset}"
    elif name == "typeId":
        # A byte of it is the GPU (load._metric_devices): what does not fit goes where nsys numbers the hardware.
        device = f"(({column} & 255) + {member.device_offset})"
        moved = f"({column} & {_NEITHER_HARDWARE_NOR_GPU}) + ({device} & 255) + (({device} >> 8) << 56)"
    return moved


def _on_one_scale(sources: Sequence[tuple[Path, Source | TraceError]]) -> list[Member]:
    """Hosts told apart, clocks aligned. Members keep the order of `sources`."""
    facts: dict[int, _Facts] = {}
    members: list[Member] = []
    recordings: dict[tuple[object, ...], Path] = {}
    for index, (path, source) in enumerate(sources):
        problem = source.message if isinstance(source, TraceError) else None
        opened = None if isinstance(source, TraceError) else source
        if isinstance(opened, SqliteSource):
            try:
                found = _facts(opened)
            except TraceError as error:
                opened, problem = None, error.message
            else:
                first_path = recordings.setdefault(found.recording, path)
                if first_path == path or not any(found.ends):
                    facts[index] = found
                else:
                    opened, problem = None, f"it is the recording in `{first_path.name}` once more"
        members.append(Member(path, opened, rank_of(path), problem=problem))
    members = _in_replicas(members)
    hosts = _hosts(facts)
    if len(set(hosts.values())) > MAX_HOSTS:
        raise TraceError(
            f"{len(set(hosts.values()))} hosts are more than fit in one analysis ({MAX_HOSTS})",
            hint="analyze the traces of some hosts at a time",
        )
    offsets: dict[int, int] = {}
    next_offset = 0
    for host in sorted(set(hosts.values())):
        there = [index for index in facts if hosts[index] == host]
        width = max(facts[index].gpu_count for index in there)
        for replicas in _on_gpus_of_their_own([(members[index].replica, facts[index].devices) for index in there]):
            offsets |= {index: next_offset for index in there if members[index].replica in replicas}
            next_offset += width
    epochs = [fact.epoch_ns for fact in facts.values() if fact.epoch_ns is not None]
    first = min(epochs, default=0)
    repeated = _places_of_repeats(facts, hosts)
    next_string = 0
    for index, fact in facts.items():
        shift = repeated.get(index, 0) if fact.epoch_ns is None else fact.epoch_ns - first
        members[index] = attrs.evolve(
            members[index],
            host=hosts[index],
            shift_ns=shift,
            clock_error_ns=0 if hosts[index] == 0 else None,
            device_offset=offsets[index],
            string_offset=next_string,
            processes=frozenset(process + (hosts[index] << 56) for process in fact.processes),
        )
        next_string += fact.string_count
    return _aligned(_without_numbers_of_recordings(members), facts)


def _in_replicas(members: list[Member]) -> list[Member]:
    """Ranks over all replicas, where names say the replica and the rank within it."""
    named = [_REPLICA.search(member.path.name) for member in members]
    size = 1 + max((int(found["rank"]) for found in named if found), default=0)
    return [
        attrs.evolve(member, replica=int(found["dp"]), rank=int(found["dp"]) * size + int(found["rank"]))
        if found
        else member
        for member, found in zip(members, named, strict=True)
    ]


def _on_gpus_of_their_own(works: Sequence[tuple[int | None, frozenset[int]]]) -> list[set[int | None]]:
    """The replicas of a host in groups that number its GPUs alike: two that work on one number each count from 0."""
    devices: dict[int | None, set[int]] = {}
    for replica, used in works:
        devices.setdefault(replica, set()).update(used)
    told = [used for replica, used in devices.items() if replica is not None]
    if sum(map(len, told)) > len(set().union(*told)):
        return [{replica} for replica in sorted(devices, key=lambda replica: -1 if replica is None else replica)]
    return [set(devices)]


def _without_numbers_of_recordings(members: list[Member]) -> list[Member]:
    """No rank where recordings of one process have several numbers in their names: those count the recordings."""
    ranks: dict[int, set[int | None]] = {}
    for member in members:
        for process in member.processes:
            ranks.setdefault(process, set()).add(member.rank)
    return [
        attrs.evolve(member, rank=None) if any(len(ranks[process]) > 1 for process in member.processes) else member
        for member in members
    ]


def _hosts(facts: Mapping[int, _Facts]) -> dict[int, int]:
    """Host of each export: those that list the same GPUs under the same host name.

    Where GPUs have no identity, exports with work of equal process ids are of different hosts, unless they were
    recorded one after the other: ranks of a job are recorded together, and recordings of one process are not.
    """
    known: list[tuple[object, list[_Facts]]] = []
    hosts: dict[int, int] = {}
    for index, fact in facts.items():
        place = (fact.hostname, fact.gpus)
        for host, (other, members) in enumerate(known):
            if place == other and (fact.has_gpu_uuids or not any(_are_rivals(fact, one) for one in members)):
                hosts[index] = host
                members.append(fact)
                break
        else:
            hosts[index] = len(known)
            known.append((place, [fact]))
    return hosts


def _places_of_repeats(facts: Mapping[int, _Facts], hosts: Mapping[int, int]) -> dict[int, int]:
    """When recordings of one process began that do not say the hour, since the first of them: never two at once."""
    unplaced = sorted(
        (index for index, fact in facts.items() if fact.epoch_ns is None),
        key=lambda index: (facts[index].session_ns or (0, 0))[0],
    )
    places: dict[int, int] = {}
    for index in unplaced:
        fact = facts[index]
        before = [other for other in places if hosts[other] == hosts[index] and facts[other].processes & fact.processes]
        place = max((places[other] + (facts[other].recorded_ns or 0) for other in before), default=0)
        for other in before[:1]:
            own, first = fact.session_ns, facts[other].session_ns
            if own is not None and first is not None:
                place = max(place, places[other] + own[0] - first[0])
        places[index] = place
    return places


def _are_rivals(one: _Facts, other: _Facts) -> bool:
    """Whether processes of one number work in both, and not one after the other.

    Where the hour is not known, times since nsys was started tell: ranks that it records alone start at about the same.
    """
    if not one.processes & other.processes:
        return False
    if one.epoch_ns is None and other.epoch_ns is None and one.session_ns is not None and other.session_ns is not None:
        first, second = sorted((one.session_ns, other.session_ns))
        return first[1] > second[0]
    if one.epoch_ns is None or other.epoch_ns is None or one.recorded_ns is None or other.recorded_ns is None:
        return True
    earlier, later = sorted((one, other), key=lambda fact: fact.epoch_ns or 0)
    return (earlier.epoch_ns or 0) + (earlier.recorded_ns or 0) > (later.epoch_ns or 0)


def _aligned(members: list[Member], facts: Mapping[int, _Facts]) -> list[Member]:
    """Clocks of other hosts moved so that collectives end together with those of the first host."""
    reference = [index for index in facts if members[index].host == 0]
    for host in sorted({member.host for member in members if member.source is not None} - {0}):
        found: tuple[int, int] | None = None
        for index in (index for index in facts if members[index].host == host):
            for other in reference:
                mine, theirs = facts[index].collectives, facts[other].collectives
                names = [name for name, _, _ in mine]
                if mine and names == [name for name, _, _ in theirs]:
                    lags = [
                        (end_b + members[other].shift_ns) - (end_a + members[index].shift_ns)
                        for (_, _, end_a), (_, _, end_b) in zip(mine, theirs, strict=True)
                    ]
                    middle = int(median(lags))
                    error = int(median(abs(lag - middle) for lag in lags))
                    if found is None or error < found[1]:
                        found = middle, error
        if found is not None:
            lag, error = found
            # Clocks that do not say the hour have nothing to agree on.
            has_hours = all(
                fact.epoch_ns is not None for index, fact in facts.items() if members[index].host in (0, host)
            )
            moved = lag if has_hours else 0
            members = [
                attrs.evolve(member, shift_ns=member.shift_ns + lag, clock_error_ns=error, moved_ns=moved)
                if member.host == host and member.source is not None
                else member
                for member in members
            ]
    return members


def _facts(source: SqliteSource) -> _Facts:
    tables = source.tables()
    with closing(source.reader()) as con:

        def rows(table: str, columns: str, tail: str = "") -> list[tuple[object, ...]]:
            wanted = columns.replace(" ", "").split(",")
            if not set(wanted) <= set(tables.get(table, ())):
                return []
            names = ", ".join(map(quote, wanted))
            return con.execute(f"SELECT DISTINCT {names} FROM {quote(table)} {tail}").fetchall()  # noqa: S608

        try:
            epochs = rows("TARGET_INFO_SESSION_START_TIME", "utcEpochNs")
            epoch = next((int(str(value)) for (value,) in epochs if value is not None), None)
            names = rows("TARGET_INFO_SYSTEM_ENV", "value", "WHERE name = 'Hostname'")
            identified = [row for row in rows("TARGET_INFO_GPU", "id, name, uuid") if row[2]]
            gpus = identified or rows("TARGET_INFO_GPU", "id, name, busLocation")
            (last_string,) = rows("StringIds", "id", "ORDER BY id DESC LIMIT 1") or [(0,)]
            working = rows("CUPTI_ACTIVITY_KIND_KERNEL", "globalPid, deviceId")
            return _Facts(
                epoch_ns=epoch,
                session_ns=None if epoch is not None else _session_ns(rows("ANALYSIS_DETAILS", "startTime, stopTime")),
                hostname=next((str(value) for (value,) in names if value), None),
                gpus=frozenset(gpus),
                has_gpu_uuids=bool(identified),
                processes=frozenset(int(str(pid)) for pid, _ in working if pid is not None)
                | _marked_processes(con, tables),
                recorded_ns=None if identified and epoch is not None else _recorded_ns(con, tables),
                gpu_count=1
                + max(
                    [int(str(number)) for number, *_ in (*gpus, *((d,) for _, d in working)) if number is not None],
                    default=0,
                ),
                devices=frozenset(int(str(device)) for _, device in working if device is not None),
                string_count=1 + int(str(last_string[0])),
                collectives=_collectives(con, tables),
                ends=tuple(_ends(con, table, tables) for table in _EVENTS),
            )
        except sqlite3.Error as error:
            raise TraceError(f"`{source.path}` is damaged: SQLite says `{error}`") from error


def _session_ns(details: Sequence[tuple[object, ...]]) -> tuple[int, int] | None:
    spans = [
        (start, stop) for start, stop in details if isinstance(start, int) and isinstance(stop, int) and start < stop
    ]
    return spans[0] if spans else None


def _recorded_ns(con: sqlite3.Connection, tables: Mapping[str, Sequence[str]]) -> int | None:
    """End of the last event of an export that counts from its first, or from the start of the recording."""
    ends = [
        con.execute(f'SELECT max("end") FROM {quote(table)}').fetchone()[0]  # noqa: S608
        for table in _EVENTS
        if "end" in tables.get(table, ())
    ]
    return max((int(end) for end in ends if end is not None), default=None)


def _ends(con: sqlite3.Connection, table: str, tables: Mapping[str, Sequence[str]]) -> tuple[object, ...]:
    """Row ids and times of the first and the last event of a table; of a view nothing."""
    if not {"start", "end"} <= set(tables.get(table, ())):
        return ()
    query = f'SELECT rowid, "start", "end" FROM {quote(table)} ORDER BY rowid'  # noqa: S608
    try:
        return (*con.execute(f"{query} LIMIT 1").fetchall(), *con.execute(f"{query} DESC LIMIT 1").fetchall())
    except sqlite3.OperationalError:
        return ()


def _marked_processes(con: sqlite3.Connection, tables: Mapping[str, Sequence[str]]) -> frozenset[int]:
    """Serialized ids of the processes with NVTX events: ranks without a GPU have nothing else."""
    if "globalTid" not in tables.get("NVTX_EVENTS", ()):
        return frozenset()
    found = con.execute("SELECT DISTINCT globalTid >> 24 << 24 FROM NVTX_EVENTS WHERE globalTid IS NOT NULL")
    return frozenset(process for (process,) in found)


def _collectives(con: sqlite3.Connection, tables: Mapping[str, Sequence[str]]) -> tuple[tuple[str, int, int], ...]:
    """Name, start and end of the first collectives, in order."""
    if (
        not {"shortName", "start", "end"} <= set(tables.get("CUPTI_ACTIVITY_KIND_KERNEL", ()))
        or "StringIds" not in tables
    ):
        return ()
    likes = " OR ".join("value LIKE ?" for _ in _COLLECTIVES)
    names = dict(con.execute(f"SELECT id, value FROM StringIds WHERE {likes}", _COLLECTIVES).fetchall())  # noqa: S608
    if not names:
        return ()
    marks = ", ".join("?" * len(names))
    table = "CUPTI_ACTIVITY_KIND_KERNEL"
    query = f'SELECT shortName, "start", "end" FROM {table} WHERE shortName IN ({marks}) ORDER BY "start" LIMIT ?'  # noqa: S608
    rows = con.execute(query, [*names, _MAX_COLLECTIVES]).fetchall()
    return tuple((names[name], start, end) for name, start, end in rows)
