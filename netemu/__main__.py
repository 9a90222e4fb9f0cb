"""`python -m netemu` is `netemu`."""

from netemu.cli import main

if __name__ == "__main__":
    main()
