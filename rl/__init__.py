"""Uses a critic: fine-tunes text-to-video generators with its rewards."""
