"""The loggers of the gateway. They escape control characters, so that no client, backend, broker or
script can forge a line of the log.

The loggers do it, not the handlers, so that it also works in a program that embeds the gateway.
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
    """A logger that escapes. All modules of the gateway use this function."""
    logger = logging.getLogger(name)
    logger.addFilter(escape_record)
    return logger


def escape_record(record: logging.LogRecord) -> bool:
    """A filter for loggers and handlers. Every record passes, with its message on one line. In a
    traceback the frames keep their lines, and each message is on one line.
    """
    try:
        message = record.getMessage()
    except Exception:  # wrong arguments of a log call: logging itself reports them
        return True
    if (escaped := escape(message)) != message:
        record.msg, record.args = escaped, None
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = _escape_traceback(record.exc_info[1])
    return True


def escape(text: str) -> str:
    """Replace unprintable characters by escapes such as ``\\u000a``."""
    if text.isascii() and text.isprintable():  # 0.04 us, the search 0.3
        return text
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape_traceback(error: BaseException) -> str:
    pieces = TracebackException.from_exception(error).format()
    return "".join(map(_escape_piece, pieces)).rstrip("\n")


def _escape_piece(piece: str) -> str:
    """A frame, with its line of code, or one message."""
    if _FRAME.match(piece):
        return piece
    text = piece.strip("\n")
    return piece.replace(text, escape(text)) if text else piece
