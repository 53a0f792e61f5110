"""Negatives from mismatched prompts: a question of another prompt, asked of this video, answered No.

They teach a critic that a thing which is not there did not fall, melt or glow. Nobody watches the video for them, so
that some are wrong: a video may show what its prompt does not mention. Only questions are taken whose every word of
content is foreign to the video's own prompt, events and questions, that name at least one thing of their own prompt,
that are of a dimension in which an absent thing means No (a still camera and common sense need no thing), and that
are not true of nothing at all ("Do all ...", "... no ..."). The rows are marked, weigh less, and have a soft target.
To have no doubt, ask a teacher instead: put the foreign questions into a prompt file and label them.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from distill.rows import Row

DIMENSIONS = frozenset(
    {
        "mechanics",
        "interaction",
        "material_properties",
        "natural_constraints",
        "attribution_correctness",
        "layout_2d",
        "depth_3d",
    }
)
TEACHER = "mismatched prompt"

_EMPTY = """
a about above across after again against along also an and another any are around as at away back be because been before
behind being below beneath beside between both but by can come did do does down during each end every exactly first for
from front further get go had has have he her here him his how i in inside into is it its itself just keep last later
leave left like look made make many may more most move much near next new now of off on once one onto or other out
outside over own past remain right same second seem see several she should show side so some start stay still stop such
take than that the their them then there these they thing this those through time to together toward towards turn two
three under until up upon upward upwards downward downwards upon use very visible was way were what when where which
while who whole will with within would
video clip scene frame shot camera image picture background foreground screen view
correct correctly appear appearance consistent consistently clear clearly depict depicted present presented realistic
realistically natural naturally proper properly
"""
_VACUOUS = frozenset(
    ("no", "not", "never", "none", "nothing", "neither", "nor", "without", "all", "every", "each", "any", "only", "if")
)
_BEGINNINGS = ("does ", "do ", "is ", "are ", "has ", "have ", "did ", "was ", "were ", "can ", "will ")


def mismatched_rows(rows: Sequence[Row], per_video: int, weight: float, teacher_p: float, seed: int) -> list[Row]:
    """Return up to `per_video` negatives for each video among the training rows, the choice made by hash.

    Their target is No with the soft target `teacher_p` < 0.5 and the given weight. Questions come from these rows
    only, so that no other split leaks in; no two of a video's are of the same words.
    """
    videos = {row.content: row for row in reversed(rows)}
    known = _words_by_prompt(rows)
    by_words: dict[frozenset[str], list[Row]] = defaultdict(list)
    for row in _one_per_question(rows):
        if may_be_asked_elsewhere(row):
            by_words[words(row.question)].append(row)
    kinds = sorted(by_words.items(), key=lambda kind: _hash(f"{seed} {sorted(kind[0])}"))
    made = []
    for video in reversed(list(videos.values())):
        first = _hash(f"{seed} {video.content}")
        in_turn = (kinds[(first + i) % len(kinds)] for i in range(len(kinds)))
        own = known[video.prompt_key]
        fitting = (donors[first % len(donors)] for asking, donors in in_turn if not asking & own)
        made += [
            replace(
                donor,
                video_path=video.video_path,
                t2v_prompt=video.t2v_prompt,
                target="No",
                teacher_p=teacher_p,
                weight=weight,
                prompt_id=video.prompt_id,
                sha256=video.sha256,
                teacher=TEACHER,
                generator=video.generator,
                mismatched=True,
            )
            for donor in islice(fitting, per_video)
        ]
    return made


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def may_be_asked_elsewhere(row: Row) -> bool:
    """Return whether No is the answer to a row's question wherever the things that it names are absent."""
    text = row.question.casefold()
    return (
        row.kind == "check"
        and row.dimension in DIMENSIONS
        and text.startswith(_BEGINNINGS)
        and not set(_split(text)) & _VACUOUS
        and bool(words(row.question) & words(row.t2v_prompt))
    )


def words(text: str) -> frozenset[str]:
    """Return the words of content in a text, in lower case, with the endings of plurals and verbs cut off."""
    return frozenset(map(_stem, _split(text.casefold()))) - _EMPTY_STEMS


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ied", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


_EMPTY_STEMS = frozenset(map(_stem, _EMPTY.split())) | _VACUOUS


def _words_by_prompt(rows: Sequence[Row]) -> dict[str, frozenset[str]]:
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row.prompt_key, []).extend((row.t2v_prompt, row.question, *(row.events or ())))
    return {key: words(" ".join(each)) for key, each in texts.items()}


def _one_per_question(rows: Sequence[Row]) -> list[Row]:
    return list({(row.prompt_key, row.question): row for row in rows}.values())
