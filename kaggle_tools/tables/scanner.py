"""Where the records of delimited text begin and end: an RFC 4180 state machine over bytes, at memory speed.

    scanner = RecordScanner('"', ",")
    marks = scanner.feed(block)         # one row a finished record: start, end, line, fields, next line
    marks = scanner.finish()            # the last record, where the file does not end with a newline

The rules, which are those of pandas and of Python's csv module:

- A quote is special only as the first byte of a field; inside a quoted field ``""`` is one quote, a newline is text.
- A record ends at LF or CRLF outside quotes. A CR elsewhere is text.
- A line with nothing on it is no record.
- After a closing quote, what follows up to the separator is text, quotes included. This, and a quote inside an unquoted
  field, is well defined but *irregular*; it is counted.

The scanner knows nothing of files, encodings or columns. It may be fed blocks of any size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled

# Columns of a mark.
START, END, LINE, FIELDS, NEXT_LINE = range(5)

# Slots of the state that is carried from block to block.
(
    _IN_QUOTES,
    _FIELD_START,
    _CLOSED_AT,  # offset after the closing quote of the current field, or -1
    _N_FIELDS,
    _LINE,
    _RECORD_START,
    _RECORD_LINE,
    _QUOTE_LINE,
    _N_UNMARKED,
    _AFTER_CR,
    _EXPECTED_FIELDS,
    _N_RAGGED,
    _RAGGED_LINE,
    _RAGGED_FIELDS,
    _N_IRREGULAR,
    _N_QUOTED,
    _NUL_LINE,
    _STATE_SIZE,
) = range(18)

_CHUNK = 4096


class RecordScanner:
    """Finds records in a stream of blocks.

    Args:
        quote_char: The quote, or None: no byte is special but newline and separator.
        separator: The separator, or None: the whole line is one field (JSON Lines).
        every: A mark is made for every so many records.
        offset: Position in the file of the first byte that will be fed.
        line: Physical line number of that byte, from 1.
        expected_fields: Records with another number of fields are counted as ragged; 0 counts none.
    """

    def __init__(
        self,
        quote_char: str | None,
        separator: str | None,
        *,
        every: int = 1,
        offset: int = 0,
        line: int = 1,
        expected_fields: int = 0,
    ) -> None:
        # The newline is looked at first, so a special byte that equals it is never seen.
        self._quote = ord(quote_char or "\n")
        self._separator = ord(separator or "\n")
        self._every = every
        self._offset = offset
        self._state = np.zeros(_STATE_SIZE, dtype=np.int64)
        self._state[[_FIELD_START, _RECORD_START]] = offset
        self._state[[_LINE, _RECORD_LINE]] = line
        self._state[_CLOSED_AT] = -1
        self._state[_EXPECTED_FIELDS] = expected_fields

    def feed(self, block: bytes | NDArray[np.uint8]) -> NDArray[np.int64]:
        """(M marks, 5) int64 for the records (every `every`-th) that end in `block`.

        Columns: offset of the record's first byte, offset after its newline, its first line, its number of fields, and
        the line after it.
        """
        data = np.frombuffer(block, dtype=np.uint8)
        # A record takes two bytes at least, but the first may have begun in an earlier block.
        marks = np.empty(((len(data) + 1) // 2 // self._every + 1, 5), dtype=np.int64)
        n_marks = _scan(data, self._offset, self._state, self._quote, self._separator, self._every, marks)
        self._offset += len(data)
        return marks[:n_marks]

    def finish(self) -> NDArray[np.int64]:
        """The mark of a last record without a newline: (0 or 1, 5) int64. Its end is the end of the data."""
        end = self._offset
        marks = self.feed(b"\n")
        marks[:, END] = np.minimum(marks[:, END], end)
        return marks

    @property
    def next_line(self) -> int:
        """Physical line of the next byte."""
        return int(self._state[_LINE])

    @property
    def n_unmarked(self) -> int:
        """Finished records since the last mark."""
        return int(self._state[_N_UNMARKED])

    @property
    def open_quote_line(self) -> int | None:
        """Line of the quote that is open now, or None."""
        return int(self._state[_QUOTE_LINE]) if self._state[_IN_QUOTES] else None

    @property
    def n_ragged(self) -> int:
        """Records whose number of fields is not the expected one."""
        return int(self._state[_N_RAGGED])

    @property
    def first_ragged(self) -> tuple[int, int] | None:
        """Line and number of fields of the first ragged record."""
        state = self._state
        return (int(state[_RAGGED_LINE]), int(state[_RAGGED_FIELDS])) if state[_N_RAGGED] else None

    @property
    def n_irregular(self) -> int:
        """Quotes in unquoted fields, and fields with text after the closing quote."""
        return int(self._state[_N_IRREGULAR])

    @property
    def n_quoted(self) -> int:
        """Fields that were quoted and closed."""
        return int(self._state[_N_QUOTED])

    @property
    def nul_line(self) -> int | None:
        """Line of the first NUL byte, or None."""
        return int(self._state[_NUL_LINE]) or None


@compiled
def _scan(
    block: NDArray[np.uint8],
    base: int,
    state: NDArray[np.int64],
    quote: int,
    separator: int,
    every: int,
    marks: NDArray[np.int64],
) -> int:
    """Advance `state` over `block`, write `marks`, return their number.

    Special bytes are flagged in a loop that compiles to vector instructions; then the flags are walked eight at a time,
    so that the state machine, one branch after another, sees special bytes only. It is one function because state kept
    in local variables stays in registers.
    """
    one, ones = np.uint64(1), np.uint64(0x0101010101010101)
    newline, quote_byte, separator_byte = np.uint8(10), np.uint8(quote), np.uint8(separator)
    flags = np.zeros(_CHUNK, dtype=np.uint8)
    words = flags.view(np.uint64)
    in_quotes, field_start, closed_at = state[_IN_QUOTES] != 0, state[_FIELD_START], state[_CLOSED_AT]
    n_fields, line, n_unmarked = state[_N_FIELDS], state[_LINE], state[_N_UNMARKED]
    record_start, record_line = state[_RECORD_START], state[_RECORD_LINE]
    expected = state[_EXPECTED_FIELDS]
    n_marks = n_irregular = n_quoted = 0

    for chunk_start in range(0, block.size, _CHUNK):
        chunk = block[chunk_start : chunk_start + _CHUNK]
        for i in range(chunk.size):
            byte = chunk[i]
            flags[i] = (byte == newline) | (byte == quote_byte) | (byte == separator_byte) | (byte == 0)
        flags[chunk.size :] = 0

        for word_index in range((chunk.size + 7) // 8):
            word = words[word_index]
            while word != 0:
                # The lowest flag: the bytes below it are counted by a multiplication, as there is no count of zeros.
                without_lowest = word & (word - one)
                below = (word ^ without_lowest) - one
                word = without_lowest
                place = chunk_start + word_index * 8 + np.int64(((below & ones) * ones) >> np.uint64(56))
                byte = block[place]
                at = base + place

                if byte == newline:
                    line += 1
                    if in_quotes:
                        continue
                    after_cr = block[place - 1] == 13 if place > 0 else state[_AFTER_CR] != 0
                    end = at - 1 if after_cr else at
                    if end > record_start:
                        n_fields += 1
                        if closed_at >= 0:
                            n_quoted += 1
                            n_irregular += end != closed_at
                        if expected > 0 and n_fields != expected:
                            if state[_N_RAGGED] == 0:
                                state[_RAGGED_LINE], state[_RAGGED_FIELDS] = record_line, n_fields
                            state[_N_RAGGED] += 1
                        n_unmarked += 1
                        if n_unmarked == every:
                            marks[n_marks, START], marks[n_marks, END] = record_start, at + 1
                            marks[n_marks, LINE], marks[n_marks, NEXT_LINE] = record_line, line
                            marks[n_marks, FIELDS] = n_fields
                            n_marks += 1
                            n_unmarked = 0
                    field_start = record_start = at + 1
                    record_line, n_fields, closed_at = line, 0, -1
                elif byte == quote_byte:
                    if in_quotes:
                        in_quotes, closed_at = False, at + 1
                    elif at == field_start:
                        in_quotes = True
                        state[_QUOTE_LINE] = line
                    elif at == closed_at:  # a doubled quote: the field was not closed after all
                        in_quotes = True
                    else:
                        n_irregular += 1
                elif byte == separator_byte:
                    if not in_quotes:
                        n_fields += 1
                        if closed_at >= 0:
                            n_quoted += 1
                            n_irregular += at != closed_at
                        field_start, closed_at = at + 1, -1
                elif state[_NUL_LINE] == 0:
                    state[_NUL_LINE] = line

    state[_IN_QUOTES], state[_FIELD_START], state[_CLOSED_AT] = in_quotes, field_start, closed_at
    state[_N_FIELDS], state[_LINE], state[_N_UNMARKED] = n_fields, line, n_unmarked
    state[_RECORD_START], state[_RECORD_LINE] = record_start, record_line
    state[_N_IRREGULAR] += n_irregular
    state[_N_QUOTED] += n_quoted
    if block.size:
        state[_AFTER_CR] = block[block.size - 1] == 13
    return n_marks
