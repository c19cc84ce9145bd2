"""README.txt of a bundle: for somebody who has never heard of us and has only stock tools."""

__all__ = ["readme_text"]

_TEXT = """\
What this is
============
{name}: events that the program caro recorded about its own use on one machine, exported by carojournal
for a machine that it cannot reach by network.  There is no free text in it: no commands, paths, prompts or names.
EVENTS.md of carojournal says what every field means.

It is a bag in the sense of RFC 8493 (BagIt 1.0).

How to check it without carojournal
===================================
In this directory:

    sha256sum -c tagmanifest-sha256.txt        the files that describe the data
    sha256sum -c manifest-sha256.txt           the data
    bagit.py --validate .                      both, if Python's bagit is at hand
{signed}
Before unpacking, `zstd -t {name}.tar.zst` checks the checksums of all frames.

How to read it
==============
carojournal.json (JSON) says which journal, segments and sequence numbers are here, what is missing and why, how many
events of which type, and their time range.  Its "previous" names the bundle before this one.

Each file below data/ is a CBOR sequence (RFC 8742) of sections: a map that describes a segment, then as many events
as its "events" says, each a map.  An event's identity is its segment and its sequence number; the numbers stand in the
map's "runs".  In Python, with the package cbor2:

    import cbor2, sys
    decoder = cbor2.CBORDecoder(open(sys.argv[1], "rb"))
    while True:
        print(decoder.decode())

With carojournal: `carobatch verify {name}.tar.zst`, then `carobatch import {name}.tar.zst`.
Importing writes a receipt; bring it back to the source and run `carobatch ack RECEIPT` there.
"""
_SIGNED = """
    ssh-keygen -Y verify -f ALLOWED_SIGNERS -I SIGNER -n carojournal -s carojournal.json.sig < carojournal.json

checks the signature, where ALLOWED_SIGNERS is a file of lines "SIGNER ssh-ed25519 AAAA..." from the sender.
"""


def readme_text(name: str, *, signed: bool) -> str:
    """Return the text for the bundle *name*."""
    return _TEXT.format(name=name, signed=_SIGNED if signed else "")
