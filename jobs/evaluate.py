"""Evaluate a model on its data, and count its zeros again. This is ``strsweep evaluate``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("evaluate")
