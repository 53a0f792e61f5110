"""The page of `worldcritic report`: what each section says, and the templates that show it as one file."""
