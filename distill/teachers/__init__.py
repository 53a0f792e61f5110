"""Teachers: whoever answers questions about videos, so that a critic can learn from it."""
