"""Tables that come with the package: measured once, reviewed, labelled with the machine they are from."""

from pathlib import Path

from cost_models.database.table import HEADER

_FOLDER = Path(__file__).parent


def shipped_table(target: str) -> Path | None:
    """Folder of the table shipped for the target of this name; ``None`` where there is none."""
    folder = _FOLDER / target
    return folder if (folder / HEADER).is_file() else None
