"""Connections: uvicorn's, which also end where a client neither sends its request nor reads its answer."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def patient_for(seconds: float) -> type[H11Protocol]:
    """Connections that wait so long for the head of a request, and for a client that reads nothing of an answer."""

    class PatientConnection(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None  # for the head of a request
        _stuck: asyncio.TimerHandle | None = None  # with an answer that nobody reads

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for_request()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_request()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait_for_request()

        def _wait_for_request(self) -> None:
            """Begin to wait if no request is under way; one that has begun to come goes on with the time that it had."""
            is_idle = self.conn.their_state is h11.IDLE
            if is_idle and self._waiting is None:
                self._waiting = self.loop.call_later(seconds, self.transport.abort)
            elif not is_idle and self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._stuck is None:
                self._stuck = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._waiting, self._stuck):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

    return PatientConnection
