"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input: the message is one line with the argument, its value, the rule and the remedy.

    The command-line tools print it and exit with code 2. Any other exception is our own bug and keeps its traceback.
    """
