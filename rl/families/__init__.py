"""What differs between the families of text-to-video generators; everything else is in rl/generator.py."""
