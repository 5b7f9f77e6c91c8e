"""What went wrong in a run, and the exit code it gives. Pure."""

from __future__ import annotations

import msgspec

from livedenoise.core.errors import (
    EXIT_ABORTED,
    EXIT_CAMERA,
    EXIT_DENOISER,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_RECORD,
    LiveDenoiseError,
)
from livedenoise.daemon.summary import Incident

_SEVERITY = (EXIT_ABORTED, EXIT_RECORD, EXIT_CAMERA, EXIT_DENOISER, EXIT_INTERNAL)
_MOST_INCIDENTS = 1000
_MOST_LINES = 200


class Outcome(msgspec.Struct):
    """Errors decide the exit code; notes are for people; incidents are replaced processes.

    Each list is bounded: a run of weeks must not grow. The first errors are kept, since later ones
    often follow from them; of notes and incidents the latest.
    """

    errors: list[str] = []
    notes: list[str] = []
    codes: list[int] = []
    incidents: list[Incident] = []

    def error(self, error: LiveDenoiseError | str, code: int | None = None) -> None:
        """Take an error; ``code`` replaces its own exit code."""
        if code is None:
            code = error.exit_code if isinstance(error, LiveDenoiseError) else EXIT_INTERNAL
        if len(self.errors) < _MOST_LINES:
            self.errors.append(str(error))
        if code not in self.codes:
            self.codes.append(code)

    def note(self, text: str) -> None:
        """Take a note."""
        self.notes.append(text)
        del self.notes[:-_MOST_LINES]

    def incident(self, incident: Incident) -> None:
        """Take an incident; the oldest go when there are very many."""
        self.incidents.append(incident)
        del self.incidents[:-_MOST_INCIDENTS]

    @property
    def exit_code(self) -> int:
        """Return the exit code of the run so far: the gravest."""
        grave = next((code for code in _SEVERITY if code in self.codes), None)
        if grave is not None:
            return grave
        return self.codes[0] if self.codes else EXIT_OK
