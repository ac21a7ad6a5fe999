"""``python -m strsweep`` is the command ``strsweep``."""

from strsweep.cli import main

if __name__ == "__main__":
    main()
