"""Streams, events, launches and the clock of the emulated card."""

from __future__ import annotations

import ctypes

import pytest

from tests.contract.native.libraries import INVALID_CONFIGURATION, INVALID_HANDLE, INVALID_VALUE, NOT_READY, SUCCESS, Libraries


class TestHandles:
    """Streams and events are known by their handles."""

    @pytest.mark.parametrize("handle", [0, 1, 2])
    def test_default_streams_are_known_and_cannot_be_destroyed(self, cards: Libraries, handle: int) -> None:
        """The default, legacy and per-thread streams are always there."""
        assert SUCCESS == cards.call("cudaStreamSynchronize", handle)
        assert INVALID_HANDLE == cards.call("cudaStreamDestroy", handle)

    @pytest.mark.parametrize(
        ("create", "destroy", "use"),
        [
            ("cudaStreamCreateWithPriority", "cudaStreamDestroy", "cudaStreamQuery"),
            ("cudaEventCreateWithFlags", "cudaEventDestroy", "cudaEventQuery"),
        ],
    )
    def test_a_destroyed_handle_is_unknown(self, cards: Libraries, create: str, destroy: str, use: str) -> None:
        """A handle works until it is destroyed, once."""
        handle = cards.create(create, 0, 0)

        assert [SUCCESS, SUCCESS] == [cards.call(use, handle), cards.call(destroy, handle)]
        assert [INVALID_HANDLE, INVALID_HANDLE] == [cards.call(use, handle), cards.call(destroy, handle)]

    def test_a_stream_is_no_event(self, cards: Libraries) -> None:
        """Handles of one sort are unknown to the other."""
        stream, event = cards.create("cudaStreamCreateWithPriority", 0, 0), cards.create("cudaEventCreateWithFlags", 0)

        assert INVALID_HANDLE == cards.call("cudaEventRecord", stream, 0)
        assert INVALID_HANDLE == cards.call("cudaStreamDestroy", event)
        assert INVALID_HANDLE == cards.call("cudaStreamWaitEvent", event, stream, 0)
        assert [SUCCESS, SUCCESS] == [cards.call("cudaStreamDestroy", stream), cards.call("cudaEventDestroy", event)]

    def test_handles_are_found_again_among_many(self, cards: Libraries) -> None:
        """However many were created and destroyed before, exactly the live ones are known."""
        kept = [cards.create("cudaEventCreateWithFlags", 0) for _ in range(100)]
        for _ in range(5000):
            cards.call("cudaEventDestroy", cards.create("cudaEventCreateWithFlags", 0))

        assert len(set(kept)) == 100
        assert {SUCCESS} == {cards.call("cudaEventDestroy", handle) for handle in kept}
        assert {INVALID_HANDLE} == {cards.call("cudaEventQuery", handle) for handle in kept}

    def test_a_stream_keeps_its_priority_and_flags(self, cards: Libraries) -> None:
        """What a stream was created with can be asked for, through runtime and driver alike."""
        stream = cards.create("cudaStreamCreateWithPriority", 1, -3)
        priority, flags = ctypes.c_int(), ctypes.c_uint()

        cards.call("cudaStreamGetPriority", stream, ctypes.addressof(priority))
        cards.call("cudaStreamGetFlags", stream, ctypes.addressof(flags))

        assert (-3, 1) == (priority.value, flags.value)
        assert SUCCESS == cards.call_driver("cuStreamDestroy_v2", stream)


class TestTime:
    """Time is counted in launches."""

    def test_a_launch_takes_ten_milliseconds(self, cards: Libraries) -> None:
        """Between two events lie 10 ms for each launch, and no host time."""
        start, end = (cards.create("cudaEventCreateWithFlags", 0) for _ in range(2))
        cards.call("cudaEventRecord", start, 0)
        launches = [cards.launch() for _ in range(3)]
        cards.call("cudaEventRecord", end, 0)

        assert [SUCCESS] * 3 == launches
        for pair, milliseconds in (((start, end), 30.0), ((end, start), -30.0), ((start, start), 0.0)):
            code, elapsed = cards.elapsed_milliseconds(*pair)
            assert SUCCESS == code
            assert pytest.approx(milliseconds) == elapsed

    def test_an_event_that_was_never_recorded_has_no_time(self, cards: Libraries) -> None:
        """Nothing can be measured to it, nor to a handle that nobody knows."""
        recorded, fresh = (cards.create("cudaEventCreateWithFlags", 0) for _ in range(2))
        cards.call("cudaEventRecord", recorded, 0)

        assert INVALID_HANDLE == cards.elapsed_milliseconds(recorded, fresh)[0]
        assert INVALID_HANDLE == cards.elapsed_milliseconds(12345, recorded)[0]

    def test_recording_on_an_unknown_stream_records_nothing(self, cards: Libraries) -> None:
        """The event has no time afterwards."""
        event, gone = cards.create("cudaEventCreateWithFlags", 0), cards.create("cudaStreamCreateWithPriority", 0, 0)
        cards.call("cudaStreamDestroy", gone)

        assert INVALID_HANDLE == cards.call("cudaEventRecord", event, gone)
        assert INVALID_HANDLE == cards.call_driver("cuEventRecord", event, gone)
        assert INVALID_HANDLE == cards.elapsed_milliseconds(event, event)[0]


class TestLag:
    """The card lags behind the host: an event is past once the host has waited for it, or for something after it."""

    @staticmethod
    def recorded(cards: Libraries) -> int:
        """Return an event that comes after a launch."""
        event: int = cards.create("cudaEventCreateWithFlags", 0)
        assert [SUCCESS, SUCCESS] == [cards.launch(), cards.call("cudaEventRecord", event, 0)]
        return event

    def test_an_event_is_past_without_work_before_it(self, cards: Libraries) -> None:
        """Neither one that was never recorded nor one that comes right after a wait has anything to wait for."""
        fresh, idle = (cards.create("cudaEventCreateWithFlags", 0) for _ in range(2))
        cards.launch()
        cards.call("cudaDeviceSynchronize")
        cards.call("cudaEventRecord", idle, 0)

        assert [SUCCESS, SUCCESS] == [cards.call("cudaEventQuery", event) for event in (fresh, idle)]

    @pytest.mark.parametrize("wait", ["cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize"])
    def test_a_wait_lets_the_card_catch_up(self, cards: Libraries, wait: str) -> None:
        """Whatever the host waits for, all that was asked for before it is past."""
        former, latter = self.recorded(cards), self.recorded(cards)
        before = [cards.call("cudaEventQuery", event) for event in (former, latter)]
        waited = cards.call(wait, *{"cudaStreamSynchronize": (0,), "cudaEventSynchronize": (latter,)}.get(wait, ()))

        assert ([NOT_READY, NOT_READY], SUCCESS) == (before, waited)
        assert [SUCCESS, SUCCESS] == [cards.call("cudaEventQuery", event) for event in (former, latter)]

    def test_a_wait_for_an_event_says_nothing_of_later_ones(self, cards: Libraries) -> None:
        """Work that was asked for after the event may still be under way."""
        former, latter = self.recorded(cards), self.recorded(cards)
        cards.call_driver("cuEventSynchronize", former)

        assert [SUCCESS, NOT_READY] == [cards.call("cudaEventQuery", event) for event in (former, latter)]

    def test_the_host_is_no_more_than_a_hundred_launches_ahead(self, cards: Libraries) -> None:
        """The next launch waits until the oldest is done."""
        event = self.recorded(cards)
        states = [(cards.launch(), cards.call("cudaEventQuery", event))[1] for _ in range(100)]

        assert [NOT_READY] * 99 + [SUCCESS] == states

    def test_asking_for_an_event_ends(self, cards: Libraries) -> None:
        """A loop that only asks whether an event is past comes to an end."""
        event = self.recorded(cards)
        states = [cards.call("cudaEventQuery", event) for _ in range(100_000)]

        assert [NOT_READY] * 99_999 + [SUCCESS] == states


class TestLaunches:
    """Which grids a card runs."""

    @pytest.mark.parametrize(
        ("grid", "block", "code"),
        [
            ((1, 1, 1), (1024, 1, 1), SUCCESS),
            ((2**31 - 1, 65535, 65535), (16, 1, 64), SUCCESS),
            ((1, 1, 1), (1025, 1, 1), INVALID_CONFIGURATION),
            ((1, 1, 1), (33, 32, 1), INVALID_CONFIGURATION),
            ((1, 1, 1), (1, 1, 65), INVALID_CONFIGURATION),
            ((1, 1, 1), (2**16, 2**16, 1), INVALID_CONFIGURATION),
            ((1, 1, 1), (2**31, 2**31, 2**31), INVALID_CONFIGURATION),
            ((1, 1, 1), (32, 0, 1), INVALID_CONFIGURATION),
            ((0, 1, 1), (32, 1, 1), INVALID_CONFIGURATION),
            ((2**31, 1, 1), (32, 1, 1), INVALID_CONFIGURATION),
            ((1, 65536, 1), (32, 1, 1), INVALID_CONFIGURATION),
        ],
    )
    def test_only_grids_that_a_card_runs_are_launched(
        self, cards: Libraries, grid: tuple[int, int, int], block: tuple[int, int, int], code: int
    ) -> None:
        """Sizes beyond the limits of CUDA are refused by runtime and driver, and not counted."""
        before = cards.counted()["launches"]
        driver_code = SUCCESS if code == SUCCESS else INVALID_VALUE

        assert code == cards.launch(grid, block)
        assert driver_code == cards.call_driver("cuLaunchKernel", 0, *grid, *block, 0, 0, 0, 0)
        assert (2 if code == SUCCESS else 0) == cards.counted()["launches"] - before

    @pytest.mark.parametrize(
        ("threads", "shared_bytes", "blocks"),
        [
            (1, 0, 16),
            (128, 0, 12),
            (129, 0, 9),
            (1024, 0, 1),
            (1025, 0, 0),
            (2**31 - 1, 0, 0),
            (128, 51_200, 2),
            (128, 51_201, 1),
            (128, 102_401, 0),
            (128, 2**63, 0),
        ],
    )
    def test_blocks_on_a_multiprocessor_are_bounded_by_threads_and_shared_memory(
        self, cards: Libraries, threads: int, shared_bytes: int, blocks: int
    ) -> None:
        """With 1536 threads, 16 blocks and 100 KiB a multiprocessor, runtime and driver give the same number."""
        found = ctypes.c_int(-1), ctypes.c_int(-1)
        at = [ctypes.addressof(number) for number in found]

        codes = (
            cards.call("cudaOccupancyMaxActiveBlocksPerMultiprocessor", at[0], 0, threads, shared_bytes),
            cards.call_driver("cuOccupancyMaxActiveBlocksPerMultiprocessor", at[1], 0, threads, shared_bytes),
        )

        assert (SUCCESS, SUCCESS) == codes
        assert (blocks, blocks) == tuple(number.value for number in found)

    def test_a_block_without_threads_is_an_invalid_value(self, cards: Libraries) -> None:
        """Zero threads are refused."""
        found = ctypes.c_int()

        assert INVALID_VALUE == cards.call("cudaOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.addressof(found), 0, 0, 0)
