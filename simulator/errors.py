"""The one exception that stands for wrong input."""


class InputError(ValueError):
    """Input a person can mend: the message is one line naming what is wrong and what is allowed."""
