"""From SFT rows to training batches: all rows of a video together, decoded, tokenised and packed."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from distill.rows import Row
from reward.answers import lcs_length, letters
from reward.errors import VideoError
from reward.frontend import FrontEnd, Prefix
from reward.packed import Asked, pack_batch, scored_order, soft_answer, text_answer
from reward.tokens import AnswerTokens
from reward.video import FrameSampling, read_video
from reward.wording import check_text

Labels = Literal["soft", "hard"]
OrderLoss = Literal["letters", "lcs", "both"]


@dataclass(frozen=True)
class VideoRows:
    """One video and all that is asked of it."""

    video: Path
    rows: tuple[Row, ...]


def group_by_video(rows: Sequence[Row], root: Path) -> list[VideoRows]:
    """Return rows by video, in the order in which the videos first appear; relative paths are relative to `root`."""
    groups: OrderedDict[str, list[Row]] = OrderedDict()
    for row in rows:
        groups.setdefault(row.video_path, []).append(row)
    return [VideoRows(root / path, tuple(each)) for path, each in groups.items()]


@dataclass(frozen=True)
class Collator:
    """Makes a batch from video numbers: decodes (checked, as for scoring), tokenises, packs.

    `order_weight` scales the loss of each of an event order's tokens against that of a check, `lcs_weight` that of its
    score; `order_loss` says which of both there is. The result is the fields of a PackedBatch, and `owners` (R, 2): for
    each prediction its video's number and its row's number in that video.
    """

    groups: Sequence[VideoRows]
    front_end: FrontEnd
    tokens: AnswerTokens
    sampling: FrameSampling
    labels: Labels = "soft"
    order_weight: float = 1.0
    order_loss: OrderLoss = "letters"
    lcs_weight: float = 1.0

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the batch of the videos numbered `example["video"]`."""
        numbers = [int(example["video"]) for example in examples]
        asked = [
            [(i, each) for i, row in enumerate(self.groups[number].rows) for each in self.asked(row)]
            for number in numbers
        ]
        videos = zip(numbers, asked, strict=True)
        batch = pack_batch([(self.prefix(number), [each for _, each in questions]) for number, questions in videos])
        owners = [
            (number, i)
            for number, questions in zip(numbers, asked, strict=True)
            for i, each in questions
            for _ in each.targets
        ]
        return {**vars(batch), "owners": torch.tensor(owners)}

    def prefix(self, number: int) -> Prefix:
        """Return a video as model input; VideoError names the file and the first row that asks about it."""
        group = self.groups[number]
        try:
            return self.front_end.prefix(read_video(group.video, self.sampling))
        except VideoError as error:
            raise VideoError(f"{error} (asked about in {group.rows[0].where})") from None

    def asked(self, row: Row) -> list[Asked]:
        """Return one row as a question with its target; an order that is learned in both ways is asked twice."""
        if row.kind == "check":
            p_yes = row.teacher_p if self.labels == "soft" else float(row.target == "Yes")
            question = self.front_end.question(check_text(row.question))
            return [soft_answer(question, self.tokens.yes[0], self.tokens.no[0], p_yes, row.weight)]
        question, asked = self.front_end.question(row.question), []
        if self.order_loss != "lcs":
            answer = [*self.front_end.data(row.target), self.tokens.stop]
            asked.append(text_answer(question, answer, row.weight * self.order_weight))
        if self.order_loss != "letters":
            num_events = len(row.events or ())
            target = lcs_length(letters(num_events), row.order) / num_events
            asked.append(scored_order(question, num_events, self.tokens, target, row.weight * self.lcs_weight))
        return asked
