"""What every tool does with errors: the user's are one line and exit code 2, ours keep their traceback."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable


def run_tool(main: Callable[[Namespace], None], args: Namespace) -> None:
    from compress.plan import UserError

    try:
        main(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        sys.exit(130)
