"""Who is next: clients take turns, so that one who asks a thousand things does not keep the others waiting."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Asked(Protocol):
    @property
    def client(self) -> str: ...


T = TypeVar("T", bound=Asked)


class FairQueue(Generic[T]):
    """First in, first out for each client, and a turn for each client after the other."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        for waiting in self._waiting.values():
            yield from waiting

    def put(self, item: T) -> None:
        self._waiting.setdefault(item.client, deque()).append(item)

    def pop(self) -> T:
        """The next one; its client goes to the end of the row.

        Raises:
            KeyError: nobody waits.
        """
        client, waiting = next(iter(self._waiting.items())) if self._waiting else ("", deque())
        if not waiting:
            raise KeyError
        item = waiting.popleft()
        del self._waiting[client]
        if waiting:
            self._waiting[client] = waiting
        return item

    def remove(self, item: T) -> bool:
        """Take out one who waits no longer; whether it was there."""
        waiting = self._waiting.get(item.client)
        if waiting is None or not any(each is item for each in waiting):
            return False
        left = deque(each for each in waiting if each is not item)
        if left:
            self._waiting[item.client] = left
        else:
            del self._waiting[item.client]
        return True
