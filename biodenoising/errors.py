"""Every error this package raises on purpose, on one page.

    BiodenoisingError            the root: one sentence saying what, where and what to do
    ├── AudioReadError           a file cannot be read as audio, or not to its end
    │   └── AudioChangedError    a file changed while it was read: it is still being written
    ├── AudioWriteError          an output cannot be written
    │   └── DiskFullError        there is no space left (or no right to write) for any output
    ├── AudioValueError          an array is not audio as `denoise` understands it
    ├── ModelError               a checkpoint or runtime is missing, damaged or does not fit
    ├── CorpusError              a source, archive or manifest of recordings is of no use as it is
    ├── TeacherError             a teacher's weights, package or command is missing or has failed
    ├── OptionError              options contradict each other or are out of range
    ├── BatchError               a run over a tree cannot start
    └── TrainingError            a training cannot start or go on

A message is written for a person at a terminal; the foreign error stays attached as `__cause__`.
"""

from __future__ import annotations


class BiodenoisingError(Exception):
    """Root of all errors raised on purpose."""


class AudioReadError(BiodenoisingError):
    """A file cannot be read as audio, or not to its end."""


class AudioChangedError(AudioReadError):
    """A file changed while it was read, so nothing made of it can be kept."""


class AudioWriteError(BiodenoisingError):
    """An output file cannot be written."""


class DiskFullError(AudioWriteError):
    """No output can be written any more: no space, quota reached or read-only."""


class AudioValueError(BiodenoisingError, ValueError):
    """An array's shape, type or sampling rate is not what `denoise` takes."""


class ModelError(BiodenoisingError):
    """A checkpoint or its runtime is missing, damaged or does not fit."""


class CorpusError(BiodenoisingError):
    """A source of recordings, an archive or a manifest is missing, damaged, unsafe or refused."""


class TeacherError(BiodenoisingError):
    """A teacher's weights, package or command is missing or has failed."""


class OptionError(BiodenoisingError, ValueError):
    """Options contradict each other or lie outside their range."""


class BatchError(BiodenoisingError):
    """A run over files cannot start, for a reason that concerns all of them."""


class TrainingError(BiodenoisingError):
    """A training cannot start or go on: its settings, its clips, its run folder or its numbers."""
