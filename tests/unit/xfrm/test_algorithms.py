import copy
import pickle

import pytest

from xfrm.algorithms import ALGORITHMS, AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.errors import EncodeError

SECRET = bytes(range(0x41, 0x41 + 20))


def test_a_key_does_not_show_itself() -> None:
    key = Key(SECRET)
    for text in (repr(key), str(key), f"{key}", repr(AeadAlgorithm("rfc4106(gcm(aes))", key, 128))):
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="unhashable"):
        hash(key)


def test_a_key_compares_reveals_and_is_wiped() -> None:
    key = Key(SECRET)
    assert key == Key(SECRET)
    assert key != Key(SECRET[:-1])
    assert key != SECRET
    assert len(key) == 20
    assert key.reveal() == SECRET
    copies = copy.copy(key), copy.deepcopy(key)
    key.wipe()
    assert key.reveal() == bytes(20)
    assert [each.reveal() for each in copies] == [SECRET, SECRET]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_known_lengths_are_accepted_and_one_octet_more_is_not(name: str) -> None:
    facts = ALGORITHMS[name]
    for bits in facts.key_bits:
        octets = (bits + facts.salt_bits) // 8
        Algorithm(name, Key(bytes(octets))).check()
        for icv in facts.icv_bits:
            AeadAlgorithm(name, Key(bytes(octets)), icv).check()
            AuthAlgorithm(name, Key(bytes(octets)), icv).check()
        with pytest.raises(EncodeError, match="takes a key of"):
            Algorithm(name, Key(bytes(octets + 1))).check()


def test_a_wrong_icv_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(EncodeError, match="ICV of 96 or 128 or 256 bits, not 64"):
        AuthAlgorithm("hmac(sha256)", Key(bytes(32)), 64).check()
    with pytest.raises(EncodeError, match="ICV of 64 or 96 or 128 bits, not 127"):
        AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 127).check()


def test_names_unknown_here_are_the_kernels_business() -> None:
    Algorithm("cbc(new)", Key(bytes(3))).check()


@pytest.mark.parametrize("name", ["", "x" * 64, "aes\0", "aés"])
def test_names_that_do_not_fit_are_refused_never_cut(name: str) -> None:
    with pytest.raises(EncodeError, match="1 to 63 ASCII characters"):
        Algorithm(name, Key(b"")).check()
