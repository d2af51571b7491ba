"""``python -m wats_extract``."""

from wats_extract.cli import main

if __name__ == "__main__":
    main()
