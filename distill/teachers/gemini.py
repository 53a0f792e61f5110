"""Gemini through google-genai: a video is sent inside the request if it is small, else uploaded once for all."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from distill.redaction import redact
from distill.teachers.faults import RejectedError, TransientError, fault
from distill.teachers.keys import key_for
from distill.teachers.media import GLANCE, file_bytes, mime_type
from distill.teachers.options import TeacherOptions, unused
from distill.teachers.replies import Token, read_reply
from reward.errors import InputError, VideoError
from reward.prompts import Prompt
from reward.teacher import Question, Reply, Seen, Video
from reward.video import VideoReaders
from reward.wording import WORDING_HASH

Given = TypeVar("Given")

_LOGPROBS = 5
_FIRST_POLL, _LONGEST_POLL = 0.25, 8.0
"""Seconds between questions whether an upload is ready; each wait doubles."""
_BLOCKED = (
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
)  # fmt: skip


class Gemini:
    """Asks one question per request; the server samples the video itself, at --video_fps if that is given."""

    questions_at_once = 1

    def __init__(self, model: str, options: TeacherOptions, readers: VideoReaders) -> None:
        from google import genai
        from google.genai import types

        if not model:
            raise InputError("--teacher gemini needs a model: --teacher gemini:MODEL")
        unused(options, ("num_frames", "max_pixels", "extra_body"), "Gemini samples a video itself", "video_fps FPS")
        self._model, self._options, self._readers = model, options, readers
        key = key_for(options, "GEMINI_API_KEY")
        self._secrets = (key,) if key else ()
        http = types.HttpOptions(
            base_url=options.base_url,
            timeout=int(options.request_seconds * 1000),
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        self._client = genai.Client(vertexai=False, api_key=key or "none", http_options=http).aio
        self._logprobs = options.logprobs

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model, what it is shown, and how it is sampled."""
        options = self._options
        return {
            "name": f"gemini:{self._model}",
            "video_fps": options.video_fps,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "seed": options.seed,
            "logprobs": options.logprobs,
            "wording": WORDING_HASH,
        }

    async def prepare(self, video: Video) -> Seen:
        """Check the whole file; read it if it is small, else upload it and wait until it is ready."""
        from google.genai import types

        await asyncio.to_thread(self._readers.read, video.path, GLANCE)
        options, kind = self._options, mime_type(video.path)
        sampled = types.VideoMetadata(fps=options.video_fps) if options.video_fps else None
        if video.path.stat().st_size <= options.inline_megabytes * 1e6:
            whole = await asyncio.to_thread(file_bytes, video.path, options.max_megabytes)
            part = types.Part(inline_data=types.Blob(data=whole, mime_type=kind), video_metadata=sampled)
            return Seen(video, (part, None), fps=options.video_fps)
        name, uri = await self._upload(video, kind)
        part = types.Part(file_data=types.FileData(file_uri=uri, mime_type=kind), video_metadata=sampled)
        return Seen(video, (part, name), fps=options.video_fps)

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Ask each question in a request of its own."""
        return [await self._ask(seen, question) for question in questions]

    async def release(self, seen: Seen) -> None:
        """Delete the upload, which would otherwise lie on the server for two days."""
        _, name = seen.media
        if name is not None:
            await self._call(self._client.files.delete(name=name))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _upload(self, video: Video, kind: str) -> tuple[str, str]:
        """Upload a video and return its name and address once it is ready; --upload_seconds is the limit."""
        if video.path.stat().st_size > self._options.max_megabytes * 1e6:
            raise VideoError(f"{video.path} is over --max_megabytes {self._options.max_megabytes:g}")
        limit, wait = time.monotonic() + self._options.upload_seconds, _FIRST_POLL
        file = await self._call(self._client.files.upload(file=str(video.path), config={"mime_type": kind}))
        while True:
            state = file.state.name if file.state else "none"
            if state == "ACTIVE" and file.name and file.uri:
                return file.name, file.uri
            if state == "FAILED" or not file.name:
                raise RejectedError(f"Gemini could not process the upload of {video.path.name} (state {state})")
            if time.monotonic() > limit:
                seconds = self._options.upload_seconds
                raise TransientError(
                    f"the upload of {video.path.name} was not ready after {seconds:g} s (state {state})"
                )
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_POLL)
            file = await self._call(self._client.files.get(name=file.name))

    async def _ask(self, seen: Seen, question: Question) -> Reply:
        try:
            response = await self._generate(seen, question, self._logprobs and question.kind == "check")
        except RejectedError as error:
            if not self._logprobs or "logprob" not in str(error).casefold():
                raise
            self._logprobs = False
            response = await self._generate(seen, question, False)
        return self._reply(question, response)

    async def _generate(self, seen: Seen, question: Question, logprobs: bool) -> Any:
        from google.genai import types

        options = self._options
        config = types.GenerateContentConfig(
            max_output_tokens=options.max_tokens,
            temperature=options.temperature,
            seed=options.seed,
            response_logprobs=True if logprobs else None,
            logprobs=_LOGPROBS if logprobs else None,
        )
        video, _ = seen.media
        contents = types.Content(role="user", parts=[video, types.Part(text=question.asked)])
        return await self._call(
            self._client.models.generate_content(model=self._model, contents=contents, config=config)
        )

    async def _call(self, call: Awaitable[Given]) -> Given:
        """Await a call of the SDK, whose errors become faults without secrets."""
        import httpx2
        import pydantic
        from google.genai import errors

        try:
            return await call
        except errors.APIError as error:
            headers = dict(error.response.headers) if error.response is not None else {}
            message = redact(f"{error.status or ''} {error.message or ''}", self._secrets)
            lowered = {name.casefold(): str(value) for name, value in headers.items()}
            if "api key not valid" in message.casefold():
                raise fault(401, message) from None
            raise fault(error.code, message, lowered) from None
        except (httpx2.HTTPError, pydantic.ValidationError, ValueError, KeyError) as error:
            text = " ".join(redact(f"{type(error).__name__}: {error}", self._secrets).split())[:200]
            raise TransientError(f"no usable answer from Gemini: {text}") from None

    def _reply(self, question: Question, response: Any) -> Reply:
        usage = response.usage_metadata
        told: dict[str, Any] = {"model_version": response.model_version}
        if usage is not None and usage.prompt_token_count is not None:
            told["input_tokens"] = usage.prompt_token_count
            told["output_tokens"] = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        if not response.candidates:
            feedback = response.prompt_feedback
            reason = feedback.block_reason.name if feedback and feedback.block_reason else "no candidate"
            return Reply("refusal", reason=f"Gemini gave no answer: {reason}", **told)
        candidate = response.candidates[0]
        ended = candidate.finish_reason.name if candidate.finish_reason else "STOP"
        parts = (candidate.content and candidate.content.parts) or []
        text = "".join(part.text for part in parts if part.text and not part.thought)
        text = redact(text, self._secrets)
        if ended in _BLOCKED:
            return Reply("refusal", raw=text or None, reason=f"Gemini stopped its answer: {ended}", **told)
        reply = read_reply(question, text or None, _tokens(candidate.logprobs_result), cut_off=ended == "MAX_TOKENS")
        return dataclasses.replace(reply, **told)


def _tokens(result: Any) -> list[Token]:
    """Return the written tokens with the likeliest in their place; none where the model thinks before it answers."""
    if result is None or not result.chosen_candidates or not result.top_candidates:
        return []
    pairs = zip(result.chosen_candidates, result.top_candidates, strict=False)
    return [
        Token(
            chosen.token or "",
            {
                each.token: each.log_probability
                for each in top.candidates or []
                if each.token is not None and each.log_probability is not None
            },
        )
        for chosen, top in pairs
    ]
