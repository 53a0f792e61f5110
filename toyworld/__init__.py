"""A hermetic little world with known truth: simulator, pixel oracle, and the embedded critic."""
