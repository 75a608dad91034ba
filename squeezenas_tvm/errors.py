"""What the commands raise on purpose, and the rule by which an error reaches the user.

An exception that carries ``exit_code`` is meant for the user: the command line prints it as one line and ends
with that code. Every package's base error has one (``TargetError``, ``CostModelError``, ``SearchError``), and
so has the bundle runner's ``BundleError``, which stands alone because the runner is copied to the device.

UsageError    wrong use or input (2)
FailedWork    the work was right but did not succeed (1): what failed, what is kept, how to go on
"""


class UsageError(Exception):
    """Wrong use or input. The message is one line: what, where, what is allowed, what to do next."""

    exit_code = 2


class FailedWork(Exception):
    """Work that did not succeed. The message says what failed, what is kept and how to go on."""

    exit_code = 1
