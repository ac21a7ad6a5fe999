"""Write a finished model as files that other programs read. This is ``strsweep export``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("export")
