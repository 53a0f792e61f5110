"""Mismatched questions of the toy world, asked of the oracle, who looks at the pixels: is No always right?"""

import numpy as np

from distill.mismatched import mismatched_rows
from distill.rows import Row
from reward.prompts import Check, Prompt
from toyworld.draw import draw
from toyworld.oracle import judge
from toyworld.world import World


def test_the_oracle_sees_none_of_what_mismatched_questions_ask_about():
    rows, clips, prompts = [], {}, {}
    for drawn in draw(80, seed=5):
        prompt = drawn.toy_prompt.prompt
        prompts[prompt.id], clips[prompt.id] = prompt, drawn.clip
        for check, yes in zip(prompt.checks, drawn.clip.checks, strict=True):
            rows.append(
                Row(
                    video_path=prompt.id,
                    t2v_prompt=prompt.text,
                    dimension=check.dimension,
                    question=check.question,
                    target="Yes" if yes else "No",
                    kind="check",
                    prompt_id=prompt.id,
                )
            )
    made = mismatched_rows(rows, 2, 0.3, 0.05, 0)
    assert len(made) > 100
    world = World(64, 16, 8)
    for row in made:
        asked = Prompt(row.prompt_id, row.t2v_prompt, (), (Check(row.dimension, row.question),))
        (answer,) = judge(asked, world.render(clips[row.prompt_id].scene)).answers
        assert answer.yes == 0.0, (row.question, row.t2v_prompt, answer.reason)
    own = [row for row in rows if row.target == "Yes"][:20]
    answers = [
        judge(
            Prompt(row.prompt_id, row.t2v_prompt, (), (Check(row.dimension, row.question),)),
            world.render(clips[row.prompt_id].scene),
        ).answers[0]
        for row in own
    ]
    assert np.mean([answer.yes for answer in answers]) == 1.0
