"""The loggers of the gateway. They escape control characters, so that no text of a client, a
backend, a broker or a script can forge a line of the log.

The loggers do it, not the handlers: it holds for a program that embeds the gateway too.
"""

from __future__ import annotations

import logging
import re
from traceback import TracebackException

_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, line breaks, changes of the text direction, lone surrogates."""
_FRAME = re.compile(r'[ |]*  File "')


def get_logger(name: str) -> logging.Logger:
    """A logger of the gateway; modules have no other."""
    logger = logging.getLogger(name)
    logger.addFilter(escape_record)
    return logger


def escape_record(record: logging.LogRecord) -> bool:
    """A filter for loggers and handlers: every record passes, its message on one line. Of a
    traceback the frames keep their lines; each message in it is on one line.
    """
    try:
        message = record.getMessage()
    except Exception:  # arguments that do not fit: logging itself reports them
        return True
    if (escaped := escape(message)) != message:
        record.msg, record.args = escaped, None
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = _escape_traceback(record.exc_info[1])
    return True


def escape(text: str) -> str:
    """What is not printable, as ``\\u000a``."""
    return _UNPRINTABLE.sub(lambda place: f"\\u{ord(place[0]):04x}", text)


def _escape_traceback(error: BaseException) -> str:
    pieces = TracebackException.from_exception(error).format()
    return "".join(map(_escape_piece, pieces)).rstrip("\n")


def _escape_piece(piece: str) -> str:
    """A frame, with its line of code, or one message."""
    if _FRAME.match(piece):
        return piece
    text = piece.strip("\n")
    return piece.replace(text, escape(text)) if text else piece
