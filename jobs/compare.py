"""Put several sweeps or methods into one report. This is ``strsweep compare``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("compare")
