"""Train one sparse model with settings that are known. This is ``strsweep train``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("train")
