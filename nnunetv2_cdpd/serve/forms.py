"""Forms: the files of a form (multipart/form-data), each written to the disk as it comes, so that many need no memory."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from nnunetv2_cdpd.errors import UserError, reason
from nnunetv2_cdpd.serve.archive import MOST_FILES

MOST_FIELDS = 32
_LONGEST_FIELDS = 1 << 20  # bytes of all fields together
_LONGEST_HEAD = 1 << 14  # bytes of what is said of one part


class FormFiles:
    """Reads one form, as a context that closes what it has opened.

    Args:
        content_type: Of the request, with the boundary.
        folder: For the files, which get numbers as names.
        names: Of the fields whose files are taken; others are left out.

    Attributes:
        fields, files: What has come until now; empty files are left out.

    Raises:
        UserError: It is no form; so do `write`, also where it holds too much, and `finish`, where it ends early.
    """

    def __init__(self, content_type: str, folder: Path, names: Collection[str]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise UserError("the form cannot be read (its Content-Type names no boundary)")
        self.fields: dict[str, str] = {}
        self.files: list[Path] = []
        self._folder, self._names = folder, names
        self._file: BinaryIO | None = None
        self._name: str | None = None  # of the field that is read
        self._field = bytearray()
        self._head: dict[bytes, bytes] = {}
        self._key, self._value = b"", b""
        self._num_parts = self._num_bytes = 0
        self._is_over = False
        with _told_as_no_form():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_key,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._add,
                    "on_part_end": self._close,
                    "on_end": self._end,
                },
            )

    def write(self, chunk: bytes) -> None:
        """Read the next bytes of the form."""
        with _told_as_no_form():
            self._parser.write(chunk)

    def finish(self) -> None:
        """Check that the form has come to its end."""
        if not self._is_over:
            raise UserError("the form cannot be read (it ends early)")

    def __enter__(self) -> "FormFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    # ---- a part --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MOST_FILES + MOST_FIELDS:
            raise UserError(f"the form has more than {MOST_FILES:,} files; send one series only")
        self._head, self._key, self._value = {}, b"", b""
        self._field.clear()

    def _add_key(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]
        self._check_head()

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_head()

    def _check_head(self) -> None:
        if len(self._key) + len(self._value) > _LONGEST_HEAD:
            raise UserError("the form cannot be read (too much is said of a part)")

    def _end_header(self) -> None:
        if len(self._head) < MOST_FIELDS:
            self._head[self._key.lower()] = self._value
        self._key, self._value = b"", b""

    def _open(self) -> None:
        said = parse_options_header(self._head.get(b"content-disposition", b""))[1]
        if b"name" not in said:
            raise UserError("the form cannot be read (a part has no name)")
        name = said[b"name"].decode(errors="replace")
        self._name = None
        if b"filename" not in said:
            self._name = name
        elif name in self._names:
            self._file = (self._folder / f"part_{self._num_parts}").open("xb")

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._name is not None:
            self._num_bytes += end - start
            if self._num_bytes > _LONGEST_FIELDS:
                raise UserError("the fields of the form are too long")
            self._field += data[start:end]

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            is_empty = not file.tell()
            file.close()
            path = Path(file.name)
            if is_empty:
                path.unlink()
            else:
                self.files.append(path)
        elif self._name is not None:
            self.fields[self._name] = self._field.decode(errors="replace")
            if len(self.fields) > MOST_FIELDS:
                raise UserError(f"the form has more than {MOST_FIELDS} fields")

    def _end(self) -> None:
        self._is_over = True


@contextmanager
def _told_as_no_form() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise UserError(f"the form cannot be read ({reason(error)})") from error
