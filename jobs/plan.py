"""Tell what a sweep would do and cost, before anything runs. This is ``strsweep plan``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("plan")
