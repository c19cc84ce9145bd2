"""The question that a user says yes or no to, and its versions.

A yes is a yes to a text.  Whoever changes the text raises `policy.PROMPT_VERSION` and adds the hash here; the yes to an
older text then no longer lets anything be sent, and the question is asked again.  Hashes are never changed or removed.
"""

from carojournal.policy import PROMPT_VERSION

__all__ = ["PROMPT", "PROMPT_HASHES", "PROMPT_VERSION", "QUESTION"]

# Version -> SHA-256 of PROMPT + QUESTION in UTF-8.
PROMPT_HASHES = {
    1: "ad3136b3b70a13d9d3dc7183032dacd8d615347a6df6accf3c40c1e58bc17ea5",
}

PROMPT = """\
Caro can keep a journal of how it is used and send it to its makers, to improve it.

What is collected:
  - when a session starts and ends, under a random number that changes every day
  - which backend and which well-known model answers, and how fast
  - categories: of errors, risk, safety patterns, outcome; never details
  - the platform: operating system, architecture, shell, version of caro

What is NEVER collected:
  - your commands, your requests, or what they print
  - paths, file names, environment variables, host names
  - names, addresses, passwords, keys, or anything that identifies you

See all that is kept:    carojournal inspect
Switch it off any time:  carojournal off
"No" keeps nothing.  To keep events on this machine and never send them: carojournal local

"""

QUESTION = "May Caro keep these events and send them? [y/N] "
