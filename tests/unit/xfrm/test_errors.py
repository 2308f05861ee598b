import errno

from xfrm import errors, requests
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Key
from xfrm.state import SecurityAssociation

SECRET = b"abcdefghijklmnopqrst"


def sa() -> SecurityAssociation:
    return SecurityAssociation(
        Address.of("10.0.0.1"),
        Address.of("239.1.1.1"),
        0x1234,
        aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128),
    )


def test_a_refusal_names_operation_item_error_and_the_kernels_words() -> None:
    refused = errors.KernelRefused(errno.EEXIST, "State exists", requests.add_sa(sa()), 7)
    assert str(refused) == ("add SA src 10.0.0.1 dst 239.1.1.1 esp spi 0x00001234: EEXIST (File exists): State exists")
    assert (refused.errno, refused.extack, refused.index) == (17, "State exists", 7)


def test_a_refusal_without_words_or_name() -> None:
    assert str(errors.KernelRefused(4095, "", requests.dump_sas())).startswith("dump SAs: errno 4095 (")


def test_a_refusal_shows_no_key() -> None:
    refused = errors.KernelRefused(errno.EINVAL, "", requests.add_sa(sa()))
    for text in (str(refused), repr(refused), repr(refused.request)):
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text


def test_a_decode_error_says_where() -> None:
    error = errors.DecodeError("too short", offset=12)
    assert error.offset == 12
    assert str(error) == "too short (at octet 12)"


def test_the_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.XfrmError)
    assert issubclass(errors.EncodeError, ValueError)
    assert issubclass(errors.DecodeError, ValueError)
