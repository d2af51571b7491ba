"""Entry point of ``python -m wats_extract.cli``."""

from wats_extract.cli import main

if __name__ == "__main__":
    main()
