"""The labelling run: videos made ready, questions asked within all limits, every reply into the journal at once."""

import asyncio
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from distill.budget import Budget, Prices
from distill.calling import Caller, Circuit
from distill.jobs import Job
from distill.journal import Journal, Record
from distill.teachers.faults import DeniedError, TeacherError, UnknownReplyError
from reward.errors import VideoError, WorldcriticError
from reward.progress import Progress
from reward.prompts import Prompt
from reward.teacher import Question, Reply, Seen, Teacher

_SECONDS_TO_RELEASE = 20

Asked = Sequence[tuple[str, Question]]


@dataclass(frozen=True)
class Work:
    """What is left to ask about one video: questions under their keys."""

    job: Job
    asked: tuple[tuple[str, Question], ...]


@dataclass
class Labelling:
    """One run of one teacher."""

    teacher: Teacher
    journal: Journal
    caller: Caller
    circuit: Circuit
    budget: Budget
    prices: Prices
    progress: Progress
    _unwritten: list[Record] = field(default_factory=list)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _disk: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "journal"))
    """A thread of its own, so that no answer waits behind a video that is decoded."""
    _open: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._open = asyncio.Semaphore(self.caller.limiter.most)

    def run(self, work: Sequence[Work]) -> None:
        """Ask everything; an error that ends the run leaves what was answered in the journal and is raised.

        Raises DeniedError for a refused key, TeacherError after too many failures in a row, WorldcriticError for a disk
        that takes no more.
        """
        with self._disk:
            try:
                asyncio.run(self._run(work))
            except BaseExceptionGroup as group:
                raise _first(group) from None

    async def _run(self, work: Sequence[Work]) -> None:
        left = iter(work)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._videos_at_once(work)):
                    group.create_task(self._work(left))
        finally:
            await self.teacher.close()

    def _videos_at_once(self, work: Sequence[Work]) -> int:
        """Return how many videos are open, so that the limiter, and not a lack of questions, holds calls back."""
        most = self.caller.limiter.most
        calls = sum(math.ceil(len(each.asked) / (self.teacher.questions_at_once or len(each.asked))) for each in work)
        per_video = max(1.0, calls / max(1, len(work)))
        return max(1, min(len(work), math.ceil(most / per_video) + 1))

    async def _work(self, left: Iterator[Work]) -> None:
        for work in left:
            await self._label_video(work)

    async def _label_video(self, work: Work) -> None:
        assert work.job.video is not None
        video, prompt = work.job.video, work.job.candidate.prompt
        if not await self._may_start():
            self.progress.advance(len(work.asked))
            return
        try:
            seen = await self.caller(lambda: self.teacher.prepare(video))
        except (VideoError, TeacherError) as error:
            await self._give_up(Seen(video), work.asked, error)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for part in _parts(work.asked, self.teacher.questions_at_once):
                    group.create_task(self._ask(seen, prompt, part))
        finally:
            await self._release(seen)

    async def _may_start(self) -> bool:
        """Return whether there is money for a first question, so that no video is uploaded for nothing."""
        if not await self.budget.reserve():
            return False
        await self.budget.settle(None, failed=True)
        return True

    async def _ask(self, seen: Seen, prompt: Prompt, asked: Asked) -> None:
        """Ask, and hold the place until the answer is on the disk: a kill loses no more calls than may run at once."""
        async with self._open:
            await self._asked(seen, prompt, asked)

    async def _asked(self, seen: Seen, prompt: Prompt, asked: Asked) -> None:
        questions = [question for _, question in asked]
        try:
            replies = await self._paid(seen, prompt, questions)
        except (VideoError, TeacherError) as error:
            await self._give_up(seen, asked, error)
            return
        if replies is None:
            self.progress.advance(len(asked))
            return
        await self._keep(seen, asked, await self._read_again(seen, prompt, questions, replies))
        self.circuit.succeeded()
        self.progress.advance(len(asked))

    async def _paid(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply] | None:
        """Return the replies of one call, None if there is no money for it."""
        if not await self.budget.reserve():
            return None
        cost, failed = None, True
        try:
            replies = await self.caller(lambda: self.teacher.label(seen, prompt, questions))
            cost, failed = _total(self.prices.cost(reply) for reply in replies), False
        finally:
            await self.budget.settle(cost, failed)
        return replies

    async def _read_again(
        self, seen: Seen, prompt: Prompt, questions: Sequence[Question], replies: list[Reply]
    ) -> list[Reply]:
        """Ask a served teacher once more where its reply cannot be read; what it costs is added."""
        unread = [i for i, reply in enumerate(replies) if reply.state == "unparsed"]
        if not unread or self.teacher.questions_at_once is None:
            return replies
        try:
            second = await self._paid(seen, prompt, [questions[i] for i in unread])
        except DeniedError:
            raise
        except TeacherError:
            return replies
        for i, reply in zip(unread, second or [], strict=second is not None):
            replies[i] = replace(
                reply,
                input_tokens=_sum(replies[i].input_tokens, reply.input_tokens),
                output_tokens=_sum(replies[i].output_tokens, reply.output_tokens),
            )
        return replies

    async def _keep(self, seen: Seen, asked: Asked, replies: Sequence[Reply]) -> None:
        rows = []
        for (key, _), reply in zip(asked, replies, strict=True):
            row = Record(
                key,
                reply.state,
                reply.answer,
                reply.p_yes,
                reply.p_source,
                reply.answer_mass,
                reply.raw,
                reply.reason,
                self._told(seen, reply.model_version),
                1,
                reply.input_tokens,
                reply.output_tokens,
                self.prices.cost(reply),
            )
            rows.append(row)
        await self._write(rows)

    async def _give_up(self, seen: Seen, asked: Asked, error: WorldcriticError) -> None:
        """Write that a call failed; a refused key and too many failures in a row end the run."""
        if isinstance(error, DeniedError):
            raise error
        calls = int(isinstance(error, TeacherError))
        row = Record("", "error", error=str(error), teacher=self._told(seen, None), calls=calls)
        await self._write([replace(row, key=key) for key, _ in asked])
        self.progress.advance(len(asked))
        if isinstance(error, TeacherError) and not isinstance(error, UnknownReplyError):
            self.circuit.failed(error)

    async def _write(self, rows: Sequence[Record]) -> None:
        """Return when rows are on the disk; those that come while it is busy share the next transaction."""
        self._unwritten.extend(rows)
        async with self._writing:
            rows, self._unwritten = self._unwritten, []
            if rows:
                await asyncio.get_running_loop().run_in_executor(self._disk, self.journal.record, rows)

    def _told(self, seen: Seen, model_version: str | None) -> str:
        facts: dict[str, Any] = {"model_version": model_version, "frames": seen.frames, "fps": seen.fps}
        return json.dumps(dict(self.teacher.identity) | facts)

    async def _release(self, seen: Seen) -> None:
        """Give back an upload; one that cannot be given back is no reason to lose labels, but is said."""
        try:
            async with asyncio.timeout(_SECONDS_TO_RELEASE):
                await self.teacher.release(seen)
        except (TeacherError, TimeoutError) as error:
            why = str(error) or f"no answer within {_SECONDS_TO_RELEASE} s"
            print(f"an upload of {seen.video.path.name} was not deleted: {why}", file=sys.stderr)


def _parts(asked: Asked, size: int | None) -> Iterator[Asked]:
    size = size or max(1, len(asked))
    for start in range(0, len(asked), size):
        yield asked[start : start + size]


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _total(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else math.fsum(cost for cost in known if cost is not None)


def _first(group: BaseExceptionGroup) -> BaseException:
    """Return the error that ended the run: ours if there is one, since what else failed failed because of it."""
    ours = group.subgroup(WorldcriticError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
