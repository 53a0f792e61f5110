"""The critic: a Qwen-VL model that judges clips, each clip encoded once for all of its questions."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reward.answers import Answer, Judgement, Order
from reward.errors import CriticError
from reward.frontend import FrontEnd, Pixels
from reward.manifest import Manifest, weight_hashes, write_manifest
from reward.options import LoadOptions
from reward.order import EXACT_EVENTS, NextLetter, beam, distribution, open_prefixes
from reward.prefix import Prefilled, SharedPrefix
from reward.prompts import Prompt
from reward.suffixes import Suffix, chain, trie
from reward.tokens import answer_tokens
from reward.video import Clip, FrameSampling
from reward.wording import check_text, order_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_PACKED_TOKENS = 4096
_BATCH = {"cuda": 8}


class VideoCritic:
    """A Qwen2.5-VL or Qwen3-VL model, its tokenizer and manifest, ready to judge clips.

    `model` may be wrapped by peft. A batch that does not fit into memory is halved, down to one video and then to
    fewer questions at once; what fitted is remembered.
    """

    def __init__(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", manifest: Manifest, options: LoadOptions | None = None
    ) -> None:
        options = options or LoadOptions()
        self.model, self.tokenizer, self.manifest = model, tokenizer, manifest
        network = unwrapped(model)
        self.tokens = answer_tokens(tokenizer)
        pixels = Pixels(**dataclasses.asdict(manifest.pixels))
        self.front_end = FrontEnd(network.config, tokenizer, pixels, network.model.get_rope_index)
        self.shared = SharedPrefix(network, self.tokens.all, options.sharing)
        self.batch_size = options.batch_size or _BATCH.get(network.device.type, 2)
        self.most_tokens = MOST_PACKED_TOKENS
        self._column = {token: i for i, token in enumerate(self.tokens.all)}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, training state and manifest hash; the manifest covers weights, wording, frames and pixels."""
        return {"name": self.manifest.name, "trained": self.manifest.trained, "manifest_sha256": self.manifest.sha256}

    @property
    def sampling(self) -> FrameSampling:
        """How clips for this critic are sampled."""
        return FrameSampling(**dataclasses.asdict(self.manifest.frames))

    def judge(self, clips: Sequence[Clip], prompts: Sequence[Prompt]) -> list[Judgement]:
        """Judge each clip against the prompt beside it.

        Raises CriticError if memory does not suffice for one question on one clip, VideoError for a clip that
        cannot be made model input.
        """
        judgements: list[Judgement] = []
        while len(judgements) < len(clips):
            rows = slice(len(judgements), len(judgements) + self.batch_size)
            try:
                judgements += self._judge_batch(clips[rows], prompts[rows])
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                self._shrink(clips[rows])
        return judgements

    def save_pretrained(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Save weights (or the adapter) as safetensors, tokenizer and manifest into a folder.

        `weights` is the model's whole state dict where the model itself holds a shard of it only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder, **({} if weights is None else {"state_dict": dict(weights)}))
        self.tokenizer.save_pretrained(folder)
        self.manifest = dataclasses.replace(self.manifest, weights=weight_hashes(folder))
        write_manifest(folder, self.manifest)

    def _judge_batch(self, clips: Sequence[Clip], prompts: Sequence[Prompt]) -> list[Judgement]:
        videos = self.shared.prefill([self.front_end.prefix(clip) for clip in clips])
        scores = self.shared.read(videos, [self._suffixes(prompt) for prompt in prompts], self.most_tokens)
        return [
            self._judgement(prompt, found, videos.select([row]))
            for row, (prompt, found) in enumerate(zip(prompts, scores, strict=True))
        ]

    def _suffixes(self, prompt: Prompt) -> list[Suffix]:
        suffixes = [chain(self.front_end.question(check_text(check.question))) for check in prompt.asked_checks]
        if 0 < len(prompt.events) <= EXACT_EVENTS:
            suffixes.append(self._order_suffix(prompt, open_prefixes(len(prompt.events))))
        return suffixes

    def _order_suffix(self, prompt: Prompt, prefixes: Sequence[str]) -> Suffix:
        letter_ids = self.tokens.needed_letters(len(prompt.events))
        return trie(self.front_end.question(order_text(prompt.events)), prefixes, letter_ids)

    def _judgement(self, prompt: Prompt, scores: Sequence[Tensor], video: Prefilled) -> Judgement:
        num_checks, num_events = len(prompt.asked_checks), len(prompt.events)
        answers = tuple(self._answer(each[0]) for each in scores[:num_checks])
        if not num_events:
            return Judgement(answers)
        if num_events <= EXACT_EVENTS:
            prefixes = open_prefixes(num_events)
            next_letter = self._next_letter(prefixes, scores[num_checks], num_events)
            order, root = distribution(num_events, next_letter), next_letter[""]
        else:
            order, root = self._beam(prompt, video)
        return Judgement(answers, Order(num_events, order, _mass(root)))

    def _beam(self, prompt: Prompt, video: Prefilled) -> tuple[dict[str, float], Any]:
        """Return the probable orders of more events than can be enumerated, and the scores at the root."""
        roots = []

        def ask(prefixes: Sequence[str]) -> NextLetter:
            nodes = sorted({prefix[:i] for prefix in prefixes for i in range(len(prefix) + 1)} | {""}, key=_by_length)
            scores = self.shared.read(video, [[self._order_suffix(prompt, nodes)]], self.most_tokens)[0][0]
            found = self._next_letter(nodes, scores, len(prompt.events))
            roots.append(found[""])
            return {prefix: found[prefix] for prefix in prefixes}

        return beam(len(prompt.events), ask), roots[0]

    def _answer(self, scores: Tensor) -> Answer:
        both = ([self._column[token] for token in ids] for ids in (self.tokens.yes, self.tokens.no))
        yes, no = (scores[columns].logsumexp(0) for columns in both)
        mass = float(yes.exp() + no.exp())
        return Answer(p_yes=float(torch.sigmoid(yes - no)), answer_mass=min(mass, 1.0))

    def _next_letter(self, prefixes: Sequence[str], scores: Tensor, num_events: int) -> NextLetter:
        pairs = self.tokens.needed_letters(num_events)
        first = [self._column[token] for token in (*(pair[0] for pair in pairs), self.tokens.none)]
        later = [self._column[token] for token in (*(pair[1] for pair in pairs), self.tokens.stop)]
        rows = zip(prefixes, scores, strict=True)
        return {prefix: row[later if prefix else first].double().numpy() for prefix, row in rows}

    def _shrink(self, clips: Sequence[Clip]) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(clips) > 1:
            self.batch_size = len(clips) // 2
        elif self.most_tokens > 1:
            self.most_tokens //= 4
        else:
            frames = clips[0].frames.shape
            raise CriticError(
                f"out of memory with one video of {frames[0]} frames of {frames[2]}x{frames[1]} and one question; "
                "lower --num_frames or --max_pixels, or use a smaller --dtype or another --device"
            )


def unwrapped(model: Any) -> Any:
    """Return the transformers model inside a peft wrapper, adapter layers included, or the model itself."""
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _mass(root: Any) -> float:
    import numpy as np

    return min(float(np.exp(root).sum()), 1.0)


def _by_length(prefix: str) -> tuple[int, str]:
    return len(prefix), prefix
