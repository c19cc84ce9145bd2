"""What holds where the journal, or what the user chose, has no place: off, with a problem that says what to do.

Below the current directory both would lie somewhere else for every directory that a host is started in, and an `off`
would hold in one of them.  Loaded only then.
"""

from carojournal import policy
from carojournal.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NO_FOLDER", "NO_HOME", "off"]

NO_HOME = (
    "there is no home directory: set HOME to an absolute path (or both CAROJOURNAL_DIR and XDG_CONFIG_HOME, on Linux)"
)
NO_FOLDER = "the current directory is gone, and the journal's is relative to it: name an absolute path"


def off(root: str, environ: "Mapping[str, str]", channel: str) -> policy.Policy:
    """Return the policy of a journal that has no place (*root* is empty), or whose user's choice has none."""
    problem = NO_FOLDER
    try:
        policy.config_file(environ)
        if not root:
            policy.journal_root(environ)  # Where that one has a place, a host has named another.
    except ConfigError as error:
        problem = str(error)
    return policy.Policy("off", source="config", channel=channel, problems=(problem,))
