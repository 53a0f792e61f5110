"""A model behind an OpenAI-compatible server: OpenAI itself, vLLM, SGLang, `transformers serve`, Gemini's own."""

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from distill.redaction import redact
from distill.teachers.faults import RefusedError, RejectedError, TransientError, fault
from distill.teachers.keys import key_for
from distill.teachers.media import GLANCE, content, data_url, file_bytes, frame_list, frame_rate, mime_type, sampling
from distill.teachers.options import TeacherOptions, unused
from distill.teachers.replies import TOP_LOGPROBS, Token, read_reply
from reward.errors import InputError
from reward.files import parse_json
from reward.prompts import Prompt
from reward.teacher import Question, Reply, Seen, Video
from reward.video import VideoReaders
from reward.wording import WORDING_HASH

_POLICY = ("content_filter", "content_policy_violation")
"""Error codes by which OpenAI and Azure refuse a question."""


class OpenAICompatible:
    """Asks one question per request, with temperature 0 and the log-probabilities of the first tokens."""

    questions_at_once = 1

    def __init__(self, model: str, options: TeacherOptions, readers: VideoReaders) -> None:
        from openai import AsyncOpenAI

        if not model:
            raise InputError("--teacher openai needs a model: --teacher openai:MODEL")
        if options.media == "video":
            unused(
                options, ("num_frames", "video_fps", "max_pixels"), "a server samples a video itself", "media frames"
            )
        self._model, self._options, self._readers = model, options, readers
        key = key_for(options, "OPENAI_API_KEY")
        self._secrets = (key,) if key else ()
        self._client = AsyncOpenAI(
            api_key=key or "none", base_url=options.base_url, max_retries=0, timeout=options.request_seconds
        )
        self._extra = _json_object(options.extra_body)
        self._logprobs = options.logprobs

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model, what it is shown, and how it is sampled."""
        options = self._options
        return {
            "name": f"openai:{self._model}",
            "media": options.media,
            "num_frames": sampling(options).num_frames if self._frames else None,
            "video_fps": options.video_fps,
            "max_pixels": options.max_pixels,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "seed": options.seed,
            "logprobs": options.logprobs,
            "extra_body": self._extra,
            "wording": WORDING_HASH,
        }

    @property
    def _frames(self) -> bool:
        return self._options.media == "frames"

    async def prepare(self, video: Video) -> Seen:
        """Check the whole file, then encode it, or its sampled frames."""
        if self._frames:
            clip = await asyncio.to_thread(self._readers.read, video.path, sampling(self._options))
            media = await asyncio.to_thread(frame_list, clip, self._options.max_pixels)
            return Seen(video, media, len(media), frame_rate(clip))
        await asyncio.to_thread(self._readers.read, video.path, GLANCE)
        whole = await asyncio.to_thread(file_bytes, video.path, self._options.max_megabytes)
        return Seen(video, data_url(whole, mime_type(video.path)))

    async def label(self, seen: Seen, prompt: Prompt, questions: Sequence[Question]) -> list[Reply]:
        """Ask each question in a request of its own."""
        return [await self._ask(seen, question) for question in questions]

    async def release(self, seen: Seen) -> None:
        """Do nothing: requests carry the video."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, seen: Seen, question: Question) -> Reply:
        try:
            return await self._ask_within_means(seen, question)
        except RefusedError as error:
            return Reply("refusal", reason=str(error))

    async def _ask_within_means(self, seen: Seen, question: Question) -> Reply:
        """Ask for probabilities until the server says that it has none."""
        try:
            body = await self._send(seen, question, self._logprobs and question.kind == "check")
        except RejectedError as error:
            if not self._logprobs or "logprob" not in str(error).casefold():
                raise
            self._logprobs = False
            body = await self._send(seen, question, False)
        reply = _reply(question, body)
        return dataclasses.replace(reply, raw=reply.raw and redact(reply.raw, self._secrets))

    async def _send(self, seen: Seen, question: Question, logprobs: bool) -> "_Completion":
        import openai

        options = self._options
        wanted = {"max_tokens": options.max_tokens, "temperature": options.temperature, "seed": options.seed}
        settings: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        if logprobs:
            settings |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        parts = [*content(seen.media), {"type": "text", "text": question.asked}]
        messages: Any = [{"role": "user", "content": parts}]
        try:
            response = await self._client.chat.completions.with_raw_response.create(
                model=self._model, messages=messages, extra_body=self._extra or None, **settings
            )
            text = response.http_response.text
        except openai.APIStatusError as error:
            message = redact(error.message, self._secrets)
            if error.code in _POLICY:
                raise RefusedError(f"HTTP {error.status_code}: {' '.join(message.split())[:300]}") from None
            raise fault(error.status_code, message, error.response.headers) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            message = redact(f"{type(cause).__name__}: {cause}", self._secrets)
            raise TransientError(f"no answer from the server: {message}") from None
        return _completion(text, self._secrets)


class _TopToken(pydantic.BaseModel):
    token: str
    logprob: float


class _WrittenToken(_TopToken):
    top_logprobs: list[_TopToken] = []


class _Logprobs(pydantic.BaseModel):
    content: list[_WrittenToken] | None = None


class _Message(pydantic.BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(pydantic.BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(pydantic.BaseModel):
    """What is used of a chat completion; anything else in the body is left alone."""

    model: str | None = None
    system_fingerprint: str | None = None
    choices: list[_Choice]
    usage: _Usage | None = None


def _completion(text: str, secrets: Sequence[str]) -> _Completion:
    try:
        return _Completion.model_validate_json(text)
    except pydantic.ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise TransientError(
            f"the server's reply is no chat completion ({why}): {' '.join(text.split())[:200]!r}"
        ) from None


def _reply(question: Question, completion: _Completion) -> Reply:
    usage = completion.usage or _Usage()
    version = " ".join(filter(None, [completion.model, completion.system_fingerprint]))
    told: dict[str, Any] = {
        "model_version": version or None,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if not completion.choices:
        return Reply("refusal", reason="the server gave no candidate", **told)
    choice = completion.choices[0]
    if choice.message.refusal:
        return Reply("refusal", raw=choice.message.refusal, reason="the teacher refuses", **told)
    if choice.finish_reason == "content_filter":
        return Reply("refusal", raw=choice.message.content, reason="stopped by the content filter", **told)
    listed = (choice.logprobs and choice.logprobs.content) or []
    tokens = [Token(each.token, {top.token: top.logprob for top in each.top_logprobs}) for each in listed]
    reply = read_reply(question, choice.message.content, tokens, cut_off=choice.finish_reason == "length")
    return dataclasses.replace(reply, **told)


def _json_object(text: str | None) -> dict[str, Any]:
    value = parse_json(text, "--extra_body") if text else {}
    if not isinstance(value, dict):
        raise InputError(f"--extra_body must be a JSON object, got {json.dumps(value)[:80]}")
    return value
