"""`python -P -m node`: the command `sahara`, where no script of that name is installed."""

from node.cli import main

if __name__ == "__main__":
    main()
