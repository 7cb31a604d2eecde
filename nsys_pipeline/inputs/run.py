"""Which model a trace ran, and how its FLOPs are counted: from the user, else from the trace's own mark."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from nsys_pipeline import markers
from nsys_pipeline.duck import create_from_rows, scalar
from nsys_pipeline.errors import ModelError, UsageError
from nsys_pipeline.records import Notice
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from nsys_pipeline.inputs.inputs import Inputs
    from nsys_pipeline.model import Conventions, Model


#: Parallel degrees of a run mark, in which ranks of one run agree.
_DEGREES = ("tp", "pp", "ep", "dp", "cp", "pcp", "dcp")
#: Fields of a config that programs write as they like.
_NO_PART_OF_A_MODEL = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "auto_map"}
)
#: Engines that keep keys of an indexer in fp8, with a float32 scale for each 128 values, whatever the latents are in
#: (vLLM: DeepseekV32IndexerCache; SGLang: DSATokenToKVPool).
_PACKING_INDEX_KEYS = ("vllm", "sglang")
#: How vLLM and SGLang call what they do to plain weights as they load them → format of the weights.
_LOADED_AS = {
    "fp8": "fp8", "ptpc_fp8": "fp8", "w8a8_fp8": "fp8", "fp8_per_tensor": "fp8", "fp8_per_block": "fp8",
    "w8a8_int8": "int8", "int8_per_channel_weight_only": "int8", "mxfp4": "mxfp4",
}  # fmt: skip


#: How vLLM and SGLang call what they cache keys and values in → the values alone, without their scales.
_CACHED_AS = {
    "fp8_inc": "fp8", "fp8_ds_mla": "fp8", "fp8_per_token_head": "fp8", "int8_per_token_head": "int8",
    "int4_per_token_head": "int4",
}  # fmt: skip

#: Caches that are stored as another is: in fp4 with a scale of 8 bits for 16 values each.
_STORED_AS = {"nvfp4_4over6": "nvfp4", "fp4_e2m1": "nvfp4"}


def _known_cache(name: object) -> str | None:
    from nsys_pipeline.model.dtypes import PACKED_LATENTS, normalize_cache_dtype

    # Which models have packed latents is for `RunDescription.cache_format`.
    if not isinstance(name, str) or name == PACKED_LATENTS:
        return None
    try:
        return normalize_cache_dtype(_STORED_AS.get(name, name))
    except ModelError:
        return None


@attrs.frozen
class RunDescription:
    """What the trace's own run mark says; empty where there is none."""

    fields: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, con: DuckDBPyConnection, model: Model | None) -> RunDescription:
        """Read the run mark that estimates rest on: the first one of `model`, if any is of it, else the first.

        A later one of its process may say what is trained, for adapters can come after the first pass. Of a model that
        a program changes, it is the one that most passes are of.
        """
        marks = list(cls.all_of(con))
        of_model = [(process, run) for process, run in marks if model is not None and run.is_of(model)]
        found = of_model or marks
        if not found:
            return cls()
        process = found[0][0]
        number = _most_run(con, process, [run.number for of, run in found if of == process])
        run = next(one for of, one in found if of == process and one.number == number)
        later = [
            one
            for of, one in marks
            if (of, one.number) == (process, number) and not run.differs(one, is_degree_told=True)
        ]
        told = {name: value for name, value in later[-1].fields.items() if name in markers.TRAINED}
        own = {name: value for name, value in run.fields.items() if name not in markers.TRAINED}
        return cls(own | told | {"retrained": any(one.fields.get("retrained") is True for one in later)})

    @classmethod
    def all_of(cls, con: DuckDBPyConnection) -> Iterator[tuple[int, RunDescription]]:
        """Every run mark that can be read, with the process that made it, in the order of their times."""
        rows = con.execute(
            'SELECT process_key, "text" FROM load.nvtx_marks WHERE starts_with("text", ?) ORDER BY at_ns, "text"',
            [markers.RUN_MARK + " "],
        ).fetchall()
        for process, text in rows:
            try:
                fields = json.loads(text.removeprefix(markers.RUN_MARK))
            except (ValueError, RecursionError):
                continue
            if isinstance(fields, dict):
                yield process, cls(fields)

    @property
    def number(self) -> int:
        """Which description of its process's model it is, that changes during the run."""
        return self.positive("run") or 0

    def differs(self, other: RunDescription, *, is_degree_told: bool) -> str | None:
        """In what another run is not this one, of what estimates rest on; None if in nothing that both say."""
        mine, its = self.fields.get("model"), other.fields.get("model")
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            both = (mine.keys() & its.keys()) - _NO_PART_OF_A_MODEL
            if any(mine[name] != its[name] for name in both):
                return "model"
        if not is_degree_told and any((self.positive(one) or 1) != (other.positive(one) or 1) for one in _DEGREES):
            return "parallel degree"
        formats = [(self.fields.get(name), other.fields.get(name)) for name in ("kv_dtype", "kv_plain_layers")]
        dtypes = {run.fields["dtype"] for run in (self, other) if isinstance(run.fields.get("dtype"), str)}
        return "format" if len(dtypes) > 1 or any(one != two for one, two in formats) else None

    def is_of(self, model: Model) -> bool:
        """Whether the mark's model is like one that the user gives: of its type and size."""
        own = self.fields.get("model")
        sizes = ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size")
        return isinstance(own, Mapping) and all(own.get(name) == model.config.get(name) for name in sizes)

    def model(self) -> Model | None:
        """The model of the run mark. Raises ModelError where its config is not understood."""
        config = self.fields.get("model")
        if not isinstance(config, Mapping):
            return None
        name = self.fields.get("name") or config.get("_name_or_path") or config.get("model_type") or "model"
        from nsys_pipeline.model import Model

        return Model.from_config(dict(config), name=str(name))

    def max_context(self, model: Model | None) -> int | None:
        """Tokens of the longest sequence that the engine took, else that the model allows; None where nobody says."""
        return self.positive("max_context") or (model.max_context if model is not None else None)

    def positive(self, name: str) -> int | None:
        """A whole number above 0 that the run mark tells, such as a parallel degree."""
        told = self.fields.get(name)
        return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None

    def trained(self) -> tuple[str | None, int | None, str | None, str | None]:
        """Which weights training updates: an expression for names, the rank of adapters, and one for their place.

        The last is an expression for frozen weights at whose outputs gradients begin.
        """
        told = (self.fields.get(name) for name in ("train_only", "lora_on", "trained_at"))
        only, place, at = (one if isinstance(one, str) else None for one in told)
        rank = self.positive("lora_rank")
        # With adapters, a name alone would not say what else is trained.
        return (only if rank is None or place else None), rank, place if rank else None, at

    def lora_ranks(self) -> dict[int, str]:
        """Ranks that adapters have beside the usual one, each with an expression for their place."""
        told = self.fields.get("lora_ranks")
        pairs = told.items() if isinstance(told, Mapping) else ()
        return {int(rank): place for rank, place in pairs if str(rank).isdecimal() and isinstance(place, str)}

    def cache_format(self, given: Conventions, model: Model | None) -> tuple[Conventions, list[Notice]]:
        """`given` with a format of the KV cache that is no plain dtype, and what is said of one."""
        from nsys_pipeline.model.dtypes import bare_cache

        told = self.fields.get("kv_dtype")
        if model is not None and (bare := bare_cache(given.kv_dtype)):
            hint = "of formats of llama.cpp, as q8_0, --kv-dtype counts the scales"
            return given, [Notice("cache_format_not_read", bare, hint)]
        if not isinstance(told, str) or model is None or given.kv_dtype not in (None, _known_cache(told)):
            return given, []
        if told == "fp8_ds_mla" and model.caches_latents:
            return attrs.evolve(given, kv_dtype=told), []
        known = _CACHED_AS.get(told)
        if known is None and given.kv_dtype is not None:
            return given, []
        what = "in the dtype of activations" if known is None else f"as {known} without its scales"
        notice = Notice(
            "cache_format_not_read",
            f"the run stores its KV cache as `{printable(told)[:40]}`, which is counted {what}: KV bytes and MBU are"
            " not exact",
            "--kv-dtype says which plain dtype comes closest",
        )
        return given if known is None else attrs.evolve(given, kv_dtype=known), [notice]

    def conventions(self, given: Conventions) -> Conventions:
        """`given`, with dtype and parallel degrees filled in from the run mark where the user says nothing."""
        changes: dict[str, Any] = {}
        if given.dtype is None and isinstance(self.fields.get("dtype"), str):
            changes["dtype"] = self.fields["dtype"]
        for degree in ("tp", "pp", "cp"):
            if getattr(given, degree) == 1 and (told := self.positive(degree)):
                changes[degree] = told
        if given.kv_dtype is None and (kv_dtype := _known_cache(self.fields.get("kv_dtype"))):
            changes["kv_dtype"] = kv_dtype
        # What an engine quantizes while it loads is not in the model's config.
        config = self.fields.get("model")
        is_in_config = isinstance(config, Mapping) and bool(config.get("quantization_config"))
        weight = _LOADED_AS.get(str(self.fields.get("quantization")))
        if given.weight is None and weight and not is_in_config:
            changes["weight"] = weight
        return attrs.evolve(given, **changes) if changes else given


def _passes_by_run(con: DuckDBPyConnection) -> Iterator[tuple[int, int, int]]:
    """(Process, occurrence, number of the run mark) of each pass that has a mark."""
    yield from con.execute(
        "SELECT p.process_key, occurrence_id, "
        """coalesce(try_cast(nullif(regexp_extract(m."text", '"run":([0-9]+)', 1), '') AS BIGINT), 0) """
        "FROM attribute.step_marks AS m JOIN attribute.phase_ranges AS p USING (occurrence_id)"
    ).fetchall()


def _most_run(con: DuckDBPyConnection, process: int, numbers: Sequence[int]) -> int:
    """Of the descriptions of a process's model, the one that most passes are of, else the first."""
    if len(set(numbers)) < 2:
        return numbers[0]
    passes = Counter(number for of, _, number in _passes_by_run(con) if of == process)
    return max(numbers, key=lambda number: passes[number])


@attrs.frozen
class ModelOfRun:
    """The model of the analysis and its conventions. `told_ranks`: GPUs that share a pass, as the run itself says.

    `is_degree_told`: the run or the user says how many GPUs share a pass. `is_split_told`: the same of a sequence.
    `dp`: ranks that have batches of their own. `expert_ranks`: those of them that share the routed experts.

    `max_context`: tokens of the longest sequence that the engine took; None where nobody says. `train_only`,
    `lora_rank`, `lora_on`, `trained_at`: which weights training updates, see `model.training`; None for all.
    `is_trained_unknown`: that changes between passes of training, or is not known.
    """

    model: Model | None
    conventions: Conventions
    told_ranks: int
    is_degree_told: bool
    is_split_told: bool
    max_context: int | None
    notices: tuple[Notice, ...] = ()
    train_only: str | None = None
    lora_rank: int | None = None
    lora_on: str | None = None
    trained_at: str | None = None
    dp: int | None = None
    expert_ranks: int = 1
    is_trained_unknown: bool = False
    #: Ranks of adapters beside `lora_rank`, each with an expression for their place.
    lora_ranks: Mapping[int, str] = attrs.field(factory=dict)
    #: Passes before or behind a change of the model, which it does not describe.
    others: frozenset[int] = frozenset()

    @classmethod
    def of(cls, inputs: Inputs) -> ModelOfRun:
        """The user's model, else the trace's own, if it is understood.

        Raises UsageError for --ep without experts, and for one that does not fit the other degrees.
        """
        run, options = RunDescription.of(inputs.connection, inputs.options.model), inputs.options
        own = run.conventions(attrs.evolve(options.conventions, tp=1, pp=1))
        model = options.model
        notices: list[Notice] = []
        if model is None:
            try:
                model = run.model()
            except ModelError as error:
                message = f"the trace's own model: {error.message}"
                notices = [Notice("model_not_understood", message, error.hint)]
        if model is not None and options.conventions.weight is None:
            # Whoever gives the format knows it.
            hint = "--weight-dtype and --kv-dtype say how weights and cache are stored"
            notices = [Notice("quantization_not_read", note, hint) for note in model.notes]
        if model is not None:
            notices += [Notice("config_not_read", note) for note in model.unread]
        notices += _skipped_images(run.fields.get("images"))
        if model is not None and options.conventions.ep > 1 and not model.has_experts:
            raise UsageError(f"`{model.name}` has no routed experts; --ep does not apply")
        dp = options.dp or run.positive("dp")
        max_context = options.max_context or run.max_context(model)
        conventions, cache = run.cache_format(run.conventions(options.conventions), model)
        if model is not None and model.has_latent_indexer and run.fields.get("framework") in _PACKING_INDEX_KEYS:
            conventions = attrs.evolve(conventions, index_dtype="fp8")
        notices += cache
        experts = max(options.conventions.ep, run.positive("ep") or 1)
        if options.dp is not None and experts > conventions.tp:
            _check_experts(experts, options.dp, conventions)
        expert_ranks = 1
        if model is not None and model.has_experts and experts > conventions.tp and experts % conventions.tp == 0:
            # Each rank has tokens of its own, and on average its experts run as many.
            expert_ranks = experts // conventions.tp
            conventions = attrs.evolve(conventions, ep=1)
            notices.append(_experts_of_other_ranks(experts, expert_ranks, dp))
        is_split_marked = _has_tokens_before(inputs)
        if is_split_marked:
            conventions = attrs.evolve(conventions, cp=1)
        is_split_told = is_split_marked or options.cp is not None or isinstance(run.fields.get("cp"), int)
        is_degree_told = options.is_degree_told or conventions.gpus > 1 or isinstance(run.fields.get("tp"), int)
        untold = () if options.is_training_told else _untold_weights(run, model)
        notices += untold
        trained = (options.train_only, options.lora_rank, None, None) if options.is_training_told else run.trained()
        notices += _split_sequences(run, model) + _adapters_of_experts(trained[2], model)
        notices += _cache_of_two_dtypes(run, model, conventions) + _adapters_of_inference(inputs, run, model)
        notices += _dropped_layers(inputs, run, model)
        notices += _copied_experts(run, model) + _whole_keys(run, model)
        notices += _cast_weights(run, model, conventions)
        others = _other_passes(inputs.connection, run)
        notices += _changed_model(run, model, others)
        if (run.positive("pcp") or 1) > 1 or run.fields.get("changed") is True:
            model = None
        return cls(
            model,
            conventions,
            own.tp * own.pp,
            is_degree_told,
            is_split_told,
            max_context,
            tuple(notices),
            *trained,
            dp,
            expert_ranks,
            bool(untold),
            {} if options.is_training_told else run.lora_ranks(),
            others,
        )


def _other_passes(con: DuckDBPyConnection, run: RunDescription) -> frozenset[int]:
    """Passes whose marks are of another run mark than `run`."""
    passes = list(_passes_by_run(con))
    if len({number for _, _, number in passes}) < 2:
        return frozenset()
    return frozenset(occurrence for _, occurrence, number in passes if number != run.number)


def _changed_model(run: RunDescription, model: Model | None, others: Collection[int]) -> list[Notice]:
    """What is not counted of a model that the program changes while it runs."""
    if model is None:
        return []
    if run.fields.get("changed") is True:
        return [
            Notice(
                "model_changes",
                "most passes are of a model that the program changed without a word in its config (other layers, a head"
                " of another size, other formats of weights): FLOPs and bytes are left out",
                "--model with a config of the model as it ran counts it",
            )
        ]
    if not others:
        return []
    return [
        Notice(
            "model_changes",
            "the program changes its model during the run (another format, other layers or another head): its most"
            f" frequent state is counted, and the {len(others):,} passes of others have no FLOPs and no bytes",
            "record each state of the model by itself to measure it",
        )
    ]


def _has_tokens_before(inputs: Inputs) -> bool:
    """Whether marks of training steps say which tokens of a sequence, of other ranks, come before a rank's own."""
    split = [occurrence for occurrence, step in inputs.marked_steps[0].items() if any(step.kv_tokens)]
    if not split:
        return False
    phases = inputs.connection.execute(
        "SELECT DISTINCT phase FROM attribute.phase_ranges WHERE occurrence_id IN (SELECT unnest(?))", [split]
    ).fetchall()
    return {phase for (phase,) in phases} <= {"forward", "backward", "step"}


def _split_sequences(run: RunDescription, model: Model | None) -> list[Notice]:
    """What an engine says of sequences that ranks share and no estimate knows."""
    prompts, caches = run.positive("pcp") or 1, run.positive("dcp") or 1
    if model is not None and prompts > 1:
        return [
            Notice(
                "prompts_of_several_ranks",
                f"{prompts:,} ranks share each prompt (prefill context parallelism), and nothing says which tokens are"
                " whose: FLOPs, MFU and MBU are left out",
                "run with one rank for each prompt to measure them",
            )
        ]
    if model is None or caches < 2:
        return []
    return [
        Notice(
            "cache_of_other_ranks",
            f"{caches:,} ranks of each pass share the KV cache of a sequence (decode context parallelism): each is"
            " charged the keys and values of its heads as if it held all of them",
            "FLOPs are right on average over the ranks; KV bytes, and MBU with them, may be too high",
        )
    ]


def _cache_of_two_dtypes(run: RunDescription, model: Model | None, conventions: Conventions) -> list[Notice]:
    """What the run says of layers whose keys and values are not stored as those of the others."""
    told = run.fields.get("kv_plain_layers")
    if model is None or conventions.kv_dtype is None or not isinstance(told, list) or not told:
        return []
    names = ", ".join(printable(str(one))[:40] for one in told[:8])
    return [
        Notice(
            "cache_of_two_dtypes",
            f"layers of the run ({names}) keep their keys and values in the model's dtype, and all are charged as"
            f" {conventions.kv_dtype}: KV bytes and MBU are too low",
            "without vLLM's --kv-cache-dtype-skip-layers, or with --kv-dtype of the model, they are exact or too high",
        )
    ]


def _options_for_towers(model: Model, images: int, clips: int) -> str | None:
    """Options that have what is not counted for want of input counted; None where they would change nothing."""
    architecture = model.architecture
    options = []
    if architecture.vision is not None and not images:
        options.append("--images N" if architecture.vision_tokens is not None else "--images N --image-size HxW")
    if architecture.audio is not None and not clips:
        options.append("--audio-seconds S")
    if not options:
        return None
    return f"if requests have them, say what each has: {', '.join(options)}; or record with `llmperf capture --auto`"


def _adapters_of_experts(place: str | None, model: Model | None) -> list[Notice]:
    """What is not counted where adapters stand on the parameters of all experts of a layer, not beside a product."""
    if place is None or model is None or not re.search(r"\bexperts(?=[|)])", place):
        return []
    return [
        Notice(
            "adapters_of_experts",
            "adapters stand on the parameters of routed experts: their FLOPs, weights and optimizer bytes are not"
            " counted",
            "what is counted are the model and its other adapters: MFU is a lower bound",
        )
    ]


def _untold_weights(run: RunDescription, model: Model | None) -> tuple[Notice, ...]:
    """What is not counted where nobody knows which weights a pass trains."""
    if model is None:
        return ()
    if run.fields.get("retrained") is True:
        return (
            Notice(
                "trained_weights_change",
                "which weights are trained changes during the run: FLOPs of backwards and of training steps are left"
                " out, and those of forwards have no adapters but the last ones",
                "record each part of the training by itself, or say which weights are trained (--train-only, --lora)",
            ),
        )
    if run.fields.get("trained_unknown") is not True:
        return ()
    return (
        Notice(
            "trained_weights_unknown",
            "some weights are frozen, or have adapters, in a model of which llmperf does not know what gradients that"
            " leaves: FLOPs of backwards and of training steps are left out, and those of forwards have no adapters",
            "say which weights are trained (--train-only, --lora)",
        ),
    )


def _dropped_layers(inputs: Inputs, run: RunDescription, model: Model | None) -> list[Notice]:
    """What is not known where a pass of training leaves layers out."""
    if model is None or run.fields.get("drops_layers") is not True:
        return []
    if not scalar(
        inputs.connection, "SELECT count(*) FROM attribute.phase_ranges WHERE phase IN ('forward', 'backward')"
    ):
        return []
    return [
        Notice(
            "layers_dropped",
            "the model leaves out layers at random in training (`layerdrop`), and nothing says which: `--auto` marks no"
            " shape of its passes of training, and any that is given is charged with all layers",
            "train with `layerdrop` = 0 to measure it",
        )
    ]


def _adapters_of_inference(inputs: Inputs, run: RunDescription, model: Model | None) -> list[Notice]:
    """What is not counted where a model generates, or embeds, with adapters beside its products."""
    adapters = run.positive("adapters")
    if model is None or adapters is None:
        return []
    generating = scalar(
        inputs.connection,
        "SELECT count(*) FROM attribute.phase_ranges "
        "WHERE phase IN ('prefill', 'decode', 'verify', 'mixed', 'guidance')",
    )
    if not generating:
        return []
    return [
        Notice(
            "adapters_not_counted",
            f"{adapters:,} layers of the model run LoRA adapters: in passes that train nothing, their FLOPs and bytes"
            " are not counted",
            "MFU and MBU of these phases are lower bounds; merge the adapters into the weights (`merge_and_unload`) to"
            " measure the model without them",
        )
    ]


def _skipped_images(told: object) -> list[Notice]:
    """What the run says about images that it could not read."""
    if not isinstance(told, Mapping):
        return []
    found, skipped = told.get("found"), told.get("skipped")
    if not isinstance(found, int) or not isinstance(skipped, list) or not skipped:
        return []
    names = "; ".join(printable(str(one))[:200] for one in skipped[:3])
    more = f"; and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
    message = f"{len(skipped):,} of {found + len(skipped):,} images could not be read and were skipped: {names}{more}"
    return [Notice("images_skipped", message)]


def _check_experts(experts: int, dp: int, conventions: Conventions) -> None:
    """Raises UsageError if experts cannot be spread over so many GPUs of a job whose data-parallel ranks are told."""
    gpus = dp * conventions.tp * conventions.cp
    if gpus % experts:
        raise UsageError(
            f"experts cannot be spread over {experts:,} of {gpus:,} GPUs of a stage",
            hint="--ep must divide --dp times --tp",
        )


def _experts_of_other_ranks(experts: int, ranks: int, dp: int | None) -> Notice:
    """What is not counted where the experts of a layer are spread over ranks that have batches of their own."""
    is_told = dp is not None and dp >= ranks
    shared = f"{experts:,} GPUs of {dp or ranks:,} data-parallel ranks share the experts"
    if not is_told:
        shared = (
            f"{experts:,} GPUs share the experts and {experts // ranks:,} each pass, so that {ranks:,} ranks are taken"
            " to have batches of their own"
        )
    return Notice(
        "experts_of_other_ranks",
        f"{shared}: each rank is charged those that its own tokens choose, and runs some of its own for the others'"
        " tokens instead",
        "FLOPs are right on average over the ranks; bytes of experts, and MBU with them, are too high"
        + ("" if is_told else f"; pass --tp {experts} if all {experts:,} share each pass"),
    )


def _copied_experts(run: RunDescription, model: Model | None) -> list[Notice]:
    """What is not counted where an engine holds some experts on several GPUs, to balance their load."""
    copies = run.positive("redundant_experts")
    if model is None or not model.has_experts or copies is None:
        return []
    return [
        Notice(
            "copied_experts",
            f"each layer holds {copies:,} copies of experts beside them (EPLB), and bytes count each expert once: those"
            " of passes that send tokens to several copies are too low, and MBU with them",
            "FLOPs are right; without redundant experts, bytes are, too",
        )
    ]


def _whole_keys(run: RunDescription, model: Model | None) -> list[Notice]:
    """What is not counted where transformers caches the keys and values that latents expand to, as version 4 does."""
    version = str(run.fields.get("framework_version"))
    if model is None or not model.caches_latents or run.fields.get("framework") != "transformers":
        return []
    if not version.startswith("4."):
        return []
    return [
        Notice(
            "latents_not_cached",
            f"transformers {printable(version)[:20]} caches whole keys and values, and bytes are those of latents: KV"
            " bytes and MBU are too low",
            "`llmperf flops MODEL --mla cached` counts such a cache",
        )
    ]


def _cast_weights(run: RunDescription, model: Model | None, conventions: Conventions) -> list[Notice]:
    """What is not counted of weights that are stored in one format and multiplied in another, as under autocast."""
    from nsys_pipeline.model.dtypes import normalize_dtype

    told = run.fields.get("stored")
    if model is None or not isinstance(told, str):
        return []
    try:
        stored, counted = normalize_dtype(told), normalize_dtype(conventions.dtype or model.dtype)
    except ModelError:
        return []
    if stored == counted:
        return []
    return [
        Notice(
            "weights_cast",
            f"weights are stored in {stored} and multiplied in {counted}: bytes are those of {counted}, and what casts"
            " them, for each product or once for many, is not counted, so that bytes and MBU are lower bounds",
            "FLOPs and MFU are right; weights loaded in the format of the products need no casts",
        )
    ]


def create_other_runs(inputs: Inputs) -> None:
    """`input.other_runs`: processes whose run mark says another run than the one that estimates are of, and in what."""
    types = {"process_key": "BIGINT", "differs": "VARCHAR"}
    of = RunDescription.of(inputs.connection, inputs.options.model)
    found: dict[int, str | None] = {}
    marks = list(RunDescription.all_of(inputs.connection))
    same = {process for process, run in marks if run.number == of.number}
    for process, run in marks:
        if process in same and run.number != of.number:
            # The same model before or behind a change.
            continue
        # A process says it again at the start of each recording, or runs several things: a trainer and an engine.
        found[process] = found.get(process) or of.differs(run, is_degree_told=inputs.options.is_degree_told)
    create_from_rows(inputs.connection, "input.other_runs", types, [row for row in found.items() if row[1]])


def _trained_attention(inputs: Inputs, model: Model) -> int | None:
    from nsys_pipeline.inputs.training import BOTH, FORWARD
    from nsys_pipeline.model import Estimator

    step = next((one for one in inputs.steps.distinct if one.part in (FORWARD, BOTH)), None)
    if step is None:
        return None
    try:
        ops = Estimator(model, inputs.run.conventions).estimate(step).ops
    except ModelError:  # already said by the costs
        return None
    return sum(op.layers for op in ops if op.kind == "attention") or None


def create_model(inputs: Inputs) -> None:
    """`input.model`: one row about the model and how it is spread over GPUs; none without a model.

    `dense_layers`: layers of its decoder; NULL with experts, which talk to other ranks in each layer, too. `told_dp`:
    data-parallel ranks as the user says, else NULL. `trained_attention`: attention operations of a micro-batch's
    forward in training; NULL if parts of the model are not counted.
    """
    types = {
        "name": "VARCHAR", "label": "VARCHAR", "params": "HUGEINT", "active_params": "HUGEINT", "dtype": "VARCHAR",
        "tp": "BIGINT", "pp": "BIGINT", "ep": "BIGINT", "ranks": "BIGINT", "told_ranks": "BIGINT",
        "cp": "BIGINT", "is_degree_told": "BOOLEAN", "is_split_told": "BOOLEAN", "dense_layers": "BIGINT",
        "not_counted": "VARCHAR", "not_counted_hint": "VARCHAR", "further_layers": "BIGINT", "has_adapters": "BOOLEAN",
        "has_expert_adapters": "BOOLEAN", "told_dp": "BIGINT", "trained_attention": "BIGINT",
    }  # fmt: skip
    run = inputs.run
    rows = []
    if model := run.model:
        dtype = run.conventions.dtype or model.dtype
        how = run.conventions
        degrees = (how.tp, how.pp, how.ep, how.gpus, run.told_ranks, how.cp, run.is_degree_told, run.is_split_told)
        decoder = model.architecture.decoder
        layers = decoder.depth if decoder is not None and not model.has_experts else None
        steps = inputs.steps.distinct
        images, clips = (sum(len(getattr(step, name)) for step in steps) for name in ("images", "audio"))
        missing = ", ".join(model.left_out(images, clips, inputs.steps.unsized)) or None
        size = (model.params, model.active_params)
        told = {notice.code for notice in run.notices}
        adapters = ("adapters_not_counted" in told, "adapters_of_experts" in told)
        counted = (layers, missing, _options_for_towers(model, images, clips), model.further_layers, *adapters)
        attention = None if missing else _trained_attention(inputs, model)
        rows = [(model.name, model.label, *size, dtype, *degrees, *counted, inputs.options.dp, attention)]
    create_from_rows(inputs.connection, "input.model", types, rows)
