"""The macros, on intervals written in the query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nsys_pipeline.query.session import Session
from nsys_pipeline.query.views import public_macros
from tests.support.ask import ask_session, open_session, table
from tests.support.trace_builder import TraceBuilder

# Group a: two that overlap, one inside, one that touches, a gap, one of no length; group b: one.
INTERVALS = """
    WITH i(group_id, start_ns, end_ns) AS (
        VALUES ('a', 10, 20), ('a', 15, 30), ('a', 16, 17), ('a', 30, 40), ('a', 50, 60), ('a', 70, 70), ('b', 0, 5)
    )
"""
SETS = """
    WITH x(group_id, start_ns, end_ns) AS (VALUES ('a', 0, 10), ('a', 5, 20), ('a', 30, 40), ('b', 0, 10)),
        y(group_id, start_ns, end_ns) AS (VALUES ('a', 8, 12), ('a', 10, 15), ('a', 20, 35), ('c', 0, 10))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with open_session(TraceBuilder(), tmp_path_factory.mktemp("macros")) as opened:
        yield opened


def test_busy_ns_counts_overlap_once(session: Session) -> None:
    assert ask_session(session, f"{INTERVALS} FROM busy_ns('i') ORDER BY ALL") == table("""
        group_id, busy_ns
        a,        40
        b,        5
    """)


def test_islands_merge_what_overlaps_or_touches(session: Session) -> None:
    assert ask_session(session, f"{INTERVALS} FROM islands('i') ORDER BY ALL") == table("""
        group_id, start_ns, end_ns, interval_count
        a,        10,       40,     4
        a,        50,       60,     1
        a,        70,       70,     1
        b,        0,        5,      1
    """)


def test_gaps_lie_between_islands(session: Session) -> None:
    assert ask_session(session, f"{INTERVALS} FROM gaps('i') ORDER BY ALL") == table("""
        group_id, start_ns, end_ns, dur_ns
        a,        40,       50,     10
        a,        60,       70,     10
    """)


def test_overlap_is_where_both_sets_are_open(session: Session) -> None:
    assert ask_session(session, f"{SETS} FROM overlap('x', 'y') ORDER BY ALL") == table("""
        group_id, start_ns, end_ns, dur_ns
        a,        8,        15,     7
        a,        30,       35,     5
    """)


def test_exposed_is_what_the_other_set_does_not_cover(session: Session) -> None:
    assert ask_session(session, f"{SETS} FROM exposed('x', 'y') ORDER BY ALL") == table("""
        group_id, start_ns, end_ns, dur_ns
        a,        0,        8,      8
        a,        15,       20,     5
        a,        35,       40,     5
        b,        0,        10,     10
    """)


def test_covered_is_what_each_span_has_of_the_merged_intervals(session: Session) -> None:
    spans = """
        s(span_id, group_id, start_ns, end_ns) AS (
            VALUES (1, 'a', 0, 5), (2, 'a', 18, 55), (3, 'a', 42, 48), (4, 'c', 0, 9)
        )
    """
    assert ask_session(session, f"{INTERVALS}, {spans} FROM macros.covered('s', 'i') ORDER BY ALL") == table("""
        span_id, covered_ns
        1,       0
        2,       27
        3,       0
        4,       0
    """)


def test_overlap_and_exposed_are_the_whole(session: Session) -> None:
    """On random intervals: hidden + exposed = busy, which is the brute-force count of covered instants."""
    query = """
        WITH r AS (SELECT i, hash(i) % 500 AS a, hash(i + 7777) % 30 AS n FROM range(200) AS t(i)),
            s AS (SELECT i, (i % 3)::INT AS group_id, a::BIGINT AS start_ns, (a + n)::BIGINT AS end_ns FROM r),
            x AS (SELECT * EXCLUDE (i) FROM s WHERE i % 2 = 0),
            y AS (SELECT * EXCLUDE (i) FROM s WHERE i % 2 = 1),
            tick AS (SELECT unnest(range(0, 600)) AS t),
            brute AS (
                SELECT g.group_id, count(*) FILTER (WHERE inx) AS busy, count(*) FILTER (WHERE inx AND iny) AS hidden
                FROM (
                    SELECT g.group_id, t,
                        EXISTS (FROM x WHERE x.group_id = g.group_id AND start_ns <= t AND t < end_ns) AS inx,
                        EXISTS (FROM y WHERE y.group_id = g.group_id AND start_ns <= t AND t < end_ns) AS iny
                    FROM (VALUES (0), (1), (2)) AS g(group_id), tick
                ) AS g
                GROUP BY g.group_id
            )
        SELECT
            bool_and(b.busy = (SELECT busy_ns FROM busy_ns('x') AS m WHERE m.group_id = b.group_id)) AS busy,
            bool_and(b.hidden = (SELECT sum(dur_ns) FROM overlap('x', 'y') AS m WHERE m.group_id = b.group_id))
                AS hidden,
            bool_and(b.busy - b.hidden = (SELECT sum(dur_ns) FROM exposed('x', 'y') AS m WHERE m.group_id = b.group_id))
                AS exposed,
            count(*) AS groups
        FROM brute AS b
    """
    assert ask_session(session, query) == "busy,hidden,exposed,groups\ntrue,true,true,3"


def test_next_launches_hold_the_next_one_after_each_point(session: Session) -> None:
    """On random launches of two threads over 50 slots, one of them long empty: as if all were looked through."""
    session.build("macros.next_launches")
    query = """
        WITH point AS (
            SELECT (i % 3)::BIGINT AS global_tid, (hash(i) % 60_000_000)::BIGINT AS at_ns, i AS point
            FROM range(200) AS t(i)
        ),
        launch AS (
            SELECT
                (i % 2)::BIGINT AS global_tid, (hash(i + 7777) % 50_000_000)::BIGINT AS at_ns, 0 AS device_id,
                CASE WHEN i % 5 > 0 THEN i END AS occurrence_id
            FROM range(2000) AS t(i)
            WHERE at_ns NOT BETWEEN 20_000_000 AND 30_000_000
        ),
        found AS (
            SELECT p.point, l.at_ns, l.occurrence_id
            FROM point AS p
            ASOF JOIN macros.next_launches('point', 'launch') AS l ON l.global_tid = p.global_tid AND l.at_ns >= p.at_ns
        ),
        expected AS (
            SELECT p.point, min(l.at_ns) AS at_ns, arg_min({'id': l.occurrence_id}, l.at_ns).id AS occurrence_id
            FROM point AS p JOIN launch AS l ON l.global_tid = p.global_tid AND l.at_ns >= p.at_ns
            GROUP BY p.point
        )
        SELECT
            count(*) > 100, (SELECT count(*) FROM (FROM found EXCEPT FROM expected)),
            (SELECT count(*) FROM expected) - count(*)
        FROM found
    """
    assert session.database.execute(query).fetchall() == [(True, 0, 0)]


def test_percentiles(session: Session) -> None:
    rows = "VALUES ('a', 0), ('a', 100), ('a', 200), ('a', NULL), ('b', NULL)"
    query = f"WITH m(group_id, value) AS ({rows}) FROM percentiles('m') ORDER BY 1"
    assert ask_session(session, query) == table("""
        group_id, count, mean, min, p50,  p90,  p99,  max
        a,        3,     100.0, 0,  100.0, 180.0, 198.0, 200
        b,        0,     ,     ,    ,     ,     ,
    """)


def test_is_timed_is_false_of_what_cupti_gave_no_times(session: Session) -> None:
    spans = "(1, 0, 0), (2, -5, -5), (3, 7, 7), (4, 0, 7), (5, -5, 7)"
    query = f"SELECT is_timed(s, e) AS t FROM (VALUES {spans}) AS v(id, s, e) ORDER BY id"
    assert ask_session(session, query) == "t\nfalse\nfalse\ntrue\ntrue\ntrue"


def test_bucket_ns(session: Session) -> None:
    assert (
        ask_session(session, "SELECT bucket_ns(x, 10) AS b FROM (VALUES (0), (9), (10), (123)) AS v(x)")
        == "b\n0\n0\n10\n120"
    )


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("gemm", "gemm"),
        ("void a::b<c<d, (int)4>, e>::kernel<x::y<z>>(int, float*)", "kernel"),
        ("void at::native::<unnamed>::f<[lambda() (instance 1)]>(T1)", "f"),
        ("ncclDevKernel_AllReduce(ncclArgs<(unsigned long)4096>)", "ncclDevKernel_AllReduce"),
    ],
)
def test_short_name(full: str, short: str, session: Session) -> None:
    assert ask_session(session, "SELECT short_name($full) AS s", {"full": full}) == f"s\n{short}"


def test_function_name_keeps_the_scopes(session: Session) -> None:
    """Its agreement with nsys_pipeline.rules.kernels is tested in tests/unit/test_references.py."""
    full = "void flashinfer::norm::RMSNormKernel<(unsigned int)8, __nv_bfloat16>(T2 *, float)"
    found = ask_session(session, "SELECT function_name($full) AS f", {"full": full})
    assert found == "f\nflashinfer::norm::RMSNormKernel"


def test_kernel_family_reads_the_arguments_of_a_generic_template(session: Session) -> None:
    """Its agreement with the rules is tested in tests/unit/test_references.py."""
    query = """
        SELECT kernel_family('nvjet_tst', 'nvjet_tst') AS a, kernel_family('x', 'x') AS b,
            kernel_family('elementwise_kernel', 'elementwise_kernel<gelu>') AS c
    """
    assert ask_session(session, query) == "a,b,c\ngemm,other,activation"


def test_every_macro_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [macro.relation for macro in public_macros() if f"{macro.relation}(" not in text] == []


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("nvjet_sm90_tst_128x64_64x8_1x2_h_bz_TNT", "16-bit"),
        ("nvjet_hsh_128x64_64x8_1x2_h_bz_TNT", "16-bit"),
        ("nvjet_sm90_qqtst_128x128_128x6_2x1_v_bz_TNT", "fp8"),
        ("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x3_tn", "16-bit"),
        ("volta_h884gemm_128x64_ldg8_nn", "16-bit"),
        (
            "sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x32_stage4_warpsize2x2x1_tensor16x8x16_kernel",
            "16-bit",
        ),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8_stage3_warpsize1x2x1_ffma_aligna4_alignc4", "fp32"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x128x32_stage3_warpsize2x2x1_tensor16x8x8_kernel", "tf32"),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_nn_align1>(T1::Params)", "fp32"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x64_16x6_tn_align4>(T1::Params)", "tf32"),
        ("ampere_sgemm_128x64_tn", "fp32"),
        ("turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_tn", "16-bit"),
        ("void gemmSN_TN_kernel<float, (int)128, (int)16, (int)2>(T1)", "fp32"),
        ("void internal::gemvx::kernel<int, int, __nv_bfloat16, __nv_bfloat16, float, (bool)0>(T1)", "16-bit"),
        (
            "void cutlass::device_kernel<cutlass::gemm::GemmUniversal<cutlass::float_e4m3_t, cutlass::bfloat16_t>>(T1)",
            "fp8",
        ),
        ("ampere_igemm_int8_128x128_ldg16_relu_stages_64x4_tn", "int8"),
        ("void marlin::Marlin<__nv_bfloat16, (int)256, (int)1>(int4 const *)", None),
        ("fused_moe_kernel", None),
        ("gemm", None),
    ],
)
def test_kernels_say_the_format_of_their_operands(session: Session, name: str, dtype: str | None) -> None:
    found = ask_session(session, "SELECT coalesce(product_dtype($name, ''), 'none') AS d", {"name": name})

    assert found == f"d\n{dtype or 'none'}"


def test_percent_between_says_where_a_share_lies(session: Session) -> None:
    shares = (
        "(1, 0.63, 0.63), (2, 0.63, NULL), (3, 0.458, 0.785), (4, 0.004, 0.0041), (5, 0.004, 0.3), (6, 0.0064, NULL)"
    )
    query = f"SELECT percent_between(least, most) AS words FROM (VALUES {shares}) AS s(id, least, most) ORDER BY id"
    assert ask_session(session, query).splitlines() == [
        "words", "63%", "at least 63%", "46–78%", "<1%", "<1–30%", "at least 0.64%",
    ]  # fmt: skip
