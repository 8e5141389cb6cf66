"""A sum of which nobody sees a part: pairwise masks that cancel, and shares that mend what those who dropped out leave behind.

Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving Machine Learning"), against a server that keeps to the
protocol and would like to know. Every two members agree on a mask (X25519, HKDF, ChaCha20) that one adds and the other takes off,
and each adds one of its own; the server sees numbers of a finite ring that are as good as random, and their sum. The
keys of masks lie in Shamir shares with all members, so that those who are left can mend the sum: they say the masks of those who
dropped out, and the own masks of those who did not, never both of anybody.

The sum is that of fixed-point numbers, exact in the ring of 64 bits. Who signs the keys is not settled here: over a network they
must come through a channel that a lying server cannot write to.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import MachineError, TrainingError

FRACTION_BITS = 32
"""Numbers are kept to 2**-32, and sums up to 2**31 have room beside them."""
PRIME = 2**521 - 1
"""Shares are points of polynomials over the numbers below this Mersenne prime."""
KEY_BYTES = 32
_SHARE_BYTES = 66


@dataclass(frozen=True)
class PublicKeys:
    """What a member tells everybody: a key that masks are agreed by, and one that shares are sealed by."""

    mask: bytes
    seal: bytes


@dataclass(frozen=True)
class Share:
    """What one member keeps of another's two secrets."""

    mask_key: int
    own_mask: int


class Member:
    """One who has numbers to be summed in one round; every round takes a new one.

    Raises:
        MachineError E901: the package cryptography is missing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._mask_key, self._seal_key = _new_key(), _new_key()
        self._own_mask = secrets.token_bytes(KEY_BYTES)
        self._others: dict[str, PublicKeys] = {}
        self._held: dict[str, Share] = {}
        self._has_answered = False

    def public_keys(self) -> PublicKeys:
        return PublicKeys(_public(self._mask_key), _public(self._seal_key))

    def shares(self, keys: Mapping[str, PublicKeys], threshold: int) -> dict[str, bytes]:
        """A sealed share of this member's secrets for each, itself included; any `threshold` of them give the secrets.

        Args:
            keys: of all members, by name.

        Raises:
            TrainingError E586: fewer than half could mend the sum, or more than there are would have to.
        """
        if not len(keys) / 2 < threshold <= len(keys):
            raise TrainingError("E586", threshold=threshold, members=len(keys))
        self._others = dict(keys)
        places = _places(keys)
        of_mask = split(int.from_bytes(_raw(self._mask_key), "big"), threshold, places.values())
        of_own = split(int.from_bytes(self._own_mask, "big"), threshold, places.values())
        sealed = {}
        for name, place in places.items():
            data = of_mask[place].to_bytes(_SHARE_BYTES, "big") + of_own[place].to_bytes(_SHARE_BYTES, "big")
            sealed[name] = _seal(self._seal_secret(name), data, self.name + "\0" + name)
        return sealed

    def receive(self, sealed: Mapping[str, bytes]) -> None:
        """Take the shares that the others have sealed for this member; those of whom it has none, it does not mask for.

        Raises:
            TrainingError E587: one was changed on its way.
        """
        for name, data in sealed.items():
            opened = _open(self._seal_secret(name), data, name + "\0" + self.name, name)
            self._held[name] = Share(int.from_bytes(opened[:_SHARE_BYTES], "big"), int.from_bytes(opened[_SHARE_BYTES:], "big"))

    def masked(self, values: np.ndarray) -> np.ndarray:
        """The numbers, float64, as the server may see them: uint64 of the same shape."""
        total = fixed(values) + _stream(self._own_mask, values.size).reshape(values.shape)
        for name in sorted(self._held):
            if name != self.name:
                mask = _stream(self._mask_secret(name), values.size).reshape(values.shape)
                total = total + mask if self.name < name else total - mask
        return total

    def reveal(self, there: Collection[str], gone: Collection[str]) -> dict[str, int]:
        """Shares of the own masks of those whose numbers are `there`, and of the mask keys of those who are `gone`.

        Raises:
            TrainingError E588: somebody is called both, or this is asked twice: a server that hears both knows a member's numbers.
        """
        if set(there) & set(gone) or self._has_answered:
            raise TrainingError("E588", member=self.name)
        self._has_answered = True
        return {
            name: self._held[name].own_mask if name in there else self._held[name].mask_key
            for name in (*there, *gone)
            if name in self._held
        }

    def _mask_secret(self, name: str) -> bytes:
        return _agreed(self._mask_key, self._others[name].mask, b"mask")

    def _seal_secret(self, name: str) -> bytes:
        return _agreed(self._seal_key, self._others[name].seal, b"seal")


def unmasked(
    masked: Mapping[str, np.ndarray], keys: Mapping[str, PublicKeys], revealed: Mapping[str, Mapping[str, int]], threshold: int
) -> np.ndarray:
    """The sum of the numbers of those whose masked numbers arrived, as float64; what the server does.

    Args:
        keys: of all whose shares were handed round, whether their numbers came or not.
        revealed: what each who is left has said (`Member.reveal`).

    Raises:
        TrainingError E589: too few are left to mend the sum.
    """
    if len(revealed) < threshold:
        raise TrainingError("E589", left=len(revealed), threshold=threshold)
    places = _places(keys)
    shape = next(iter(masked.values())).shape
    size = int(np.prod(shape))
    total = np.zeros(shape, np.uint64)
    for values in masked.values():
        total = total + values
    for name in keys:
        secret = joined({places[helper]: said[name] for helper, said in revealed.items()}, threshold).to_bytes(_SHARE_BYTES, "big")[
            -KEY_BYTES:
        ]
        if name in masked:
            total = total - _stream(secret, size).reshape(shape)
            continue
        key = _private(secret)
        for other in masked:
            mask = _stream(_agreed(key, keys[other].mask, b"mask"), size).reshape(shape)
            # What the one who is there had added for the one who is gone is taken off, and the other way round.
            total = total - mask if other < name else total + mask
    return plain(total)


def fixed(values: np.ndarray) -> np.ndarray:
    """Numbers as fixed-point ones in the ring of 64 bits.

    Raises:
        TrainingError E585: one is no number, or too large.
    """
    scaled = np.round(np.asarray(values, np.float64) * 2.0**FRACTION_BITS)
    if not np.isfinite(scaled).all() or (np.abs(scaled) >= 2.0**62).any():
        raise TrainingError("E585", most=f"{2.0 ** (62 - FRACTION_BITS):.3g}")
    return scaled.astype(np.int64).view(np.uint64)


def plain(total: np.ndarray) -> np.ndarray:
    """A sum in the ring as numbers again."""
    return total.view(np.int64).astype(np.float64) / 2.0**FRACTION_BITS


def split(secret: int, threshold: int, places: Collection[int]) -> dict[int, int]:
    """Shamir's shares of a secret by place: any `threshold` of them give it, fewer say nothing (Shamir 1979)."""
    coefficients = [secret, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    shares = {}
    for place in places:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * place + coefficient) % PRIME
        shares[place] = value
    return shares


def joined(shares: Mapping[int, int], threshold: int) -> int:
    """The secret of `threshold` shares, by Lagrange's interpolation at 0."""
    used = dict(list(shares.items())[:threshold])
    secret = 0
    for place, value in used.items():
        above = below = 1
        for other in used:
            if other != place:
                above, below = above * -other % PRIME, below * (place - other) % PRIME
        secret = (secret + value * above * pow(below, -1, PRIME)) % PRIME
    return secret


def _places(names: Collection[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names), 1)}


def _crypto() -> Any:
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import x25519
        from cryptography.hazmat.primitives.ciphers import Cipher, aead, algorithms
        from cryptography.hazmat.primitives.kdf import hkdf
    except ImportError:
        raise MachineError("E901", package="cryptography", command='pip install "diptych[federated]"') from None
    return hashes, serialization, x25519, Cipher, algorithms, aead, hkdf


def _new_key() -> Any:
    return _crypto()[2].X25519PrivateKey.generate()


def _private(raw: bytes) -> Any:
    return _crypto()[2].X25519PrivateKey.from_private_bytes(raw)


def _raw(key: Any) -> bytes:
    return key.private_bytes_raw()


def _public(key: Any) -> bytes:
    return key.public_key().public_bytes_raw()


def _agreed(key: Any, public: bytes, purpose: bytes) -> bytes:
    """The secret of two, the same from either side (X25519, then HKDF-SHA256)."""
    hashes, _serialization, x25519, _cipher, _algorithms, _aead, hkdf = _crypto()
    shared = key.exchange(x25519.X25519PublicKey.from_public_bytes(public))
    return hkdf.HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"diptych " + purpose).derive(shared)


def _stream(key: bytes, count: int) -> np.ndarray:
    """`count` numbers of 64 bits that nobody without the key can tell from chance (ChaCha20); a key is used once."""
    _hashes, _serialization, _x25519, cipher, algorithms, _aead, _hkdf = _crypto()
    stream = cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), "<u8").astype(np.uint64)


def _seal(key: bytes, data: bytes, about: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + _crypto()[5].ChaCha20Poly1305(key).encrypt(nonce, data, hashlib.sha256(about.encode()).digest())


def _open(key: bytes, sealed: bytes, about: str, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return _crypto()[5].ChaCha20Poly1305(key).decrypt(sealed[:12], sealed[12:], hashlib.sha256(about.encode()).digest())
    except (InvalidTag, ValueError):
        raise TrainingError("E587", member=name) from None
