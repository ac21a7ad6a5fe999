"""Deliver to MLflow what an earlier job could not. This is ``strsweep publish``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("publish")
