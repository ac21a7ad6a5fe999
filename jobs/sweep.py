"""Hit every target sparsity: search, train, register. This is ``strsweep sweep``."""

from strsweep.cli import main

if __name__ == "__main__":
    main("sweep")
