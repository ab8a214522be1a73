"""UserError: a mistake that the user can mend, told in one line."""


class UserError(Exception):
    """Something is wrong with what the user gave; the message names the file or option and the way out.

    The command line prints it without a traceback and exits with code 1. Library callers may catch it.
    """
