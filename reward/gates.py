"""Gates between the reward vector and the scalar: what no reward may be paid for, whatever a critic says.

A frozen clip breaks no law of motion and keeps common sense; a black one shows nothing wrong. Both are seen in the
pixels, without a critic.
"""

from dataclasses import dataclass

import numpy as np

CELLS = 32
FROZEN_BELOW = 3.0
"""Levels of 255: less change than this in every cell of the picture is compression noise, not motion."""
BLACK_BELOW = 8.0
"""Levels of 255: no cell of any frame is brighter."""


@dataclass(frozen=True)
class Gates:
    """What was measured in the sampled frames, in levels of 255, and what follows from it.

    `motion` is the largest change over time of any of 32 x 32 cells' mean brightness; `brightest` the largest cell
    mean of any frame.
    """

    motion: float
    brightest: float

    @property
    def closed(self) -> tuple[str, ...]:
        """Why nothing is paid: "black", "frozen", both or, for most clips, nothing."""
        reasons = (("black", self.brightest < BLACK_BELOW), ("frozen", self.motion < FROZEN_BELOW))
        return tuple(reason for reason, holds in reasons if holds)


def measure_gates(frames: np.ndarray) -> Gates:
    """Measure sampled frames, uint8 (T, H, W, 3)."""
    rows, columns = (np.linspace(0, side, min(CELLS, side) + 1).astype(int) for side in frames.shape[1:3])
    grey = frames.mean(axis=3, dtype=np.float32)
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
    cells = sums / np.outer(np.diff(rows), np.diff(columns))
    return Gates(motion=float(np.ptp(cells, axis=0).max()), brightest=float(cells.max()))
