"""`python -m compress`: the command `nncompress`."""

from compress.commands import main

if __name__ == "__main__":
    main()
