"""Have a teacher label videos: every question about every video, kept in a journal that survives anything.

Teachers: openai:MODEL (any OpenAI-compatible server, with --base_url), gemini:MODEL, local:CRITIC (a critic's folder,
a model on the hub or a short name), replay:LABELS (an earlier run), truth and oracle (the toy world's). Writes
journal.sqlite, labels.jsonl and labels.parquet into --out. Running the same command again goes on where it stopped.
Keys come from the environment only. Exit code 3: some questions have no answer.
"""

import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from distill.teachers.options import TeacherOptions
from reward.candidates import in_shard, locate_candidates, say_missing
from reward.config import config, save_run
from reward.errors import InputError
from reward.files import check_outputs, existing, write_jsonl, writing
from reward.options import Positive, VideoOptions
from reward.progress import Progress
from reward.score import shard_path

if TYPE_CHECKING:
    from distill.jobs import Job
    from distill.journal import Journal, Spent
    from distill.labelling import Work
    from reward.teacher import Teacher

JOURNAL, LABELS, TABLE = "journal.sqlite", "labels.jsonl", "labels.parquet"
_TRIED_AGAIN = ("error", "unparsed")

Price = Annotated[float, pydantic.Field(ge=0)]


@config
class Config(TeacherOptions, VideoOptions):
    """Options of `worldcritic label`."""

    teacher: str
    """Who labels: openai:MODEL, gemini:MODEL, local:CRITIC, replay:LABELS, truth, oracle."""
    out: Path
    """Folder for the journal and the labels; with several shards each writes its own files into it."""
    generator: str | None = None
    """What made the videos, for those whose manifest does not say."""
    limit: Positive | None = None
    """Label only the first so many videos; labels.jsonl then holds these, the journal keeps all."""
    merge: tuple[Path, ...] = ()
    """First take in the answers of other journals of this teacher: journal files, or folders with some."""
    export_only: bool = False
    """Ask nothing: write the labels of what the journal holds, after --merge."""
    dry_run: bool = False
    """Say how many calls there would be and what they would cost; ask nothing, write nothing."""
    retry_errors: bool = False
    """Ask again where the journal holds an error or a reply that could not be read."""
    overwrite: bool = False
    """Discard the journal and the labels that are already there."""
    parquet: bool = True
    """Also write labels.parquet."""
    concurrency: Positive = 8
    """Most calls at once; fewer while the teacher asks for fewer."""
    attempts: Positive = 5
    """Tries of a call that fails in a way that may pass; waiting for a rate limit costs none."""
    first_wait: Annotated[float, pydantic.Field(ge=0)] = 1.0
    """Seconds before a second try, jittered; each further wait doubles, up to a minute."""
    quota_seconds: Annotated[float, pydantic.Field(gt=0)] = 1800.0
    """How long one call may be put off by rate limits."""
    max_failures: Positive = 20
    """Give the run up when so many calls in a row failed."""
    max_cost: Annotated[float, pydantic.Field(gt=0)] | None = None
    """US dollars that this journal's calls may cost, earlier runs included; needs both prices."""
    price_input: Price | None = None
    """US dollars per million tokens that the teacher reads."""
    price_output: Price | None = None
    """US dollars per million tokens that the teacher writes."""
    workers: Positive = 2
    """Processes that decode videos."""
    decode_seconds: Annotated[float, pydantic.Field(gt=0)] = 60.0
    """A video that takes longer to decode is given up."""


def main(config: Config) -> int:
    """Label, and return 0, or 3 if some questions have no answer."""
    _check(config)
    found = locate_candidates(config)
    say_missing(found)
    candidates = [each for each in found.found if in_shard(each, config.num_shards, config.shard_index)]
    candidates = candidates[: config.limit]
    if not candidates:
        raise InputError("no video to label: none is named after a prompt id of the prompt file")
    from distill.jobs import make_jobs
    from distill.teachers.loading import load_teacher
    from reward.video import VideoReaders

    with VideoReaders(config.workers, config.decode_seconds) as readers:
        teacher = load_teacher(config.teacher, config, config.prompts, readers)
        jobs = make_jobs(candidates, teacher.identity)
        if not any(job.questions for job in jobs):
            raise InputError(f"{config.prompts}: the prompts of these videos ask nothing: no checks, no events")
        if config.dry_run:
            print(json.dumps(_plan(config, jobs, teacher), indent=2))
            return 0
        with writing(_file(config, JOURNAL)):
            return _label(config, jobs, teacher)


def _check(config: Config) -> None:
    """Refuse what cannot go well before anything is loaded or written."""
    config.check_shard()
    if config.max_cost is not None and (config.price_input is None or config.price_output is None):
        raise InputError("--max_cost needs --price_input and --price_output, dollars per million tokens")
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"--out {config.out} is a file; give a folder")
    for package, needed in (("tenacity", True), ("pyarrow", config.parquet)):
        if needed and importlib.util.find_spec(package) is None:
            raise InputError(f"label needs the package {package}: pip install 'worldcritic[teacher]'")
    inputs = [path for path in (config.prompts, config.manifest) if path is not None]
    resumes = config.overwrite or _file(config, JOURNAL).exists()
    check_outputs([_file(config, name) for name in (LABELS, TABLE)], inputs, resumes)


def _file(config: Config, name: str) -> Path:
    return shard_path(config.out / name, config.num_shards, config.shard_index)


def _label(config: Config, jobs: Sequence["Job"], teacher: "Teacher") -> int:
    from distill.journal import Journal
    from distill.label_rows import label_rows, write_parquet
    from distill.label_summary import show, summarise

    if config.overwrite:
        for name in (JOURNAL, LABELS, TABLE):
            _file(config, name).unlink(missing_ok=True)
    started = time.monotonic()
    with Journal(_file(config, JOURNAL), teacher.identity) as journal:
        _merge(config, journal)
        if not config.export_only:
            _ask(config, jobs, teacher, journal)
        rows = list(label_rows(jobs, journal, teacher.identity, config.videos_folder, config.generator))
        spent = journal.spent()
    write_jsonl(_file(config, LABELS), rows)
    if config.parquet:
        write_parquet(_file(config, TABLE), rows)
    questions = sum(len(job.questions) for job in jobs)
    summary = summarise(rows, questions, spent, time.monotonic() - started)
    inputs = {"prompts": config.prompts} | ({"manifest": config.manifest} if config.manifest else {})
    save_run(config, _file(config, LABELS), inputs, teacher=dict(teacher.identity), summary=summary)
    show(summary, rows, _file(config, LABELS))
    return 0 if summary["states"].get("answer", 0) == questions else 3


def _merge(config: Config, journal: "Journal") -> None:
    for given in config.merge:
        paths = sorted(given.glob("journal*.sqlite")) if existing(given, "--merge").is_dir() else [given]
        if not paths:
            raise InputError(f"--merge {given} holds no journal*.sqlite")
        for path in paths:
            if path.resolve() != journal.path.resolve():
                counts = journal.merge(path)
                told = ", ".join(f"{count} {what}" for what, count in counts.items()) or "no rows"
                print(f"merged {path}: {told}", file=sys.stderr)


def _left(config: Config, jobs: Sequence["Job"], states: Mapping[str, str]) -> list["Work"]:
    """Return what is still to be asked; a question that several equal videos share is asked about one of them."""
    from distill.labelling import Work

    taken: set[str] = set()
    work = []
    for job in jobs:
        asked = []
        for key, question in job.asked:
            state = states.get(key)
            if key not in taken and (state is None or (config.retry_errors and state in _TRIED_AGAIN)):
                taken.add(key)
                asked.append((key, question))
        if asked:
            work.append(Work(job, tuple(asked)))
    return work


def _ask(config: Config, jobs: Sequence["Job"], teacher: "Teacher", journal: "Journal") -> None:
    from distill.budget import Budget, Prices
    from distill.calling import Caller, Circuit, Patience
    from distill.labelling import Labelling
    from distill.limiter import Limiter

    work = _left(config, jobs, journal.states())
    prices = Prices(config.price_input, config.price_output)
    patience = Patience(config.attempts, config.first_wait, quota_seconds=config.quota_seconds)
    with Progress(sum(len(each.asked) for each in work), "labelling") as progress:
        Labelling(
            teacher,
            journal,
            Caller(Limiter(config.concurrency), patience),
            Circuit(config.max_failures),
            Budget(config.max_cost, journal.spent().dollars),
            prices,
            progress,
        ).run(work)


def _plan(config: Config, jobs: Sequence["Job"], teacher: "Teacher") -> dict[str, Any]:
    """Return what a run would do: counts, and the cost as far as earlier calls of the journal tell it."""
    from distill.journal import Spent, known_states

    path = _file(config, JOURNAL)
    states: dict[str, str] = {}
    spent = Spent(0, 0, 0, 0.0)
    if path.exists() and not config.overwrite:
        states, spent = known_states(path, teacher.identity)
    work = _left(config, jobs, states)
    to_ask = sum(len(each.asked) for each in work)
    known = Counter(states[key] for job in jobs for key in job.keys if key in states)
    cost, reason = _expected_cost(config, to_ask, spent)
    return {
        "teacher": dict(teacher.identity),
        "videos": len(jobs),
        "videos_missing": sum(job.video is None for job in jobs),
        "questions": sum(len(job.questions) for job in jobs),
        "in_journal": dict(known),
        "questions_to_ask": to_ask,
        "videos_to_show": len(work),
        "dollars_spent": spent.dollars if spent.calls else 0.0,
        "dollars_expected": cost,
        "dollars_expected_unknown_because": reason,
    }


def _expected_cost(config: Config, to_ask: int, spent: "Spent") -> tuple[float | None, str | None]:
    if config.price_input is None or config.price_output is None:
        return None, "--price_input and --price_output are not given"
    if not spent.calls or not spent.input_tokens:
        return None, "the journal holds no call whose tokens are known; label a few with --limit first"
    dollars = config.price_input * spent.input_tokens + config.price_output * spent.output_tokens
    return dollars / 1e6 / spent.calls * to_ask, None
