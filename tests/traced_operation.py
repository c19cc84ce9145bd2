"""Run one operation of the fault harness once: alone, for strace to look at, or under our own tracer.

    python traced_operation.py <operation> <mark> [ours]

The operation's process looks at <mark>, a path, when it begins and when it has ended.  With "ours" one line of JSON
is printed: [name, path] of every call in between that the tracer was shown, in order.
"""

import json
import os
import sys

from faults import tracer
from faults.campaign import Laboratory
from faults.operations import OPERATIONS, Told
from faults.place import standing


def main(name, mark, *ours):
    laboratory = Laboratory()
    operation = OPERATIONS[name]
    place = laboratory.template(operation).copy(os.path.join(laboratory.folder, "run"))
    calls = []

    def body():
        with standing(place, laboratory.log):
            told = Told(os.open(os.devnull, os.O_WRONLY), 1)
            os.access(mark, os.F_OK)
            code = operation.act(place, told)
            os.access(mark, os.F_OK)
        return code

    try:
        # The same process tree both times: strace sees the tracer's child only if nobody else traces it.
        if ours:
            code = tracer.run(body, lambda call: calls.append([call.name, call.path])).code
            first, last = (at for at, (_, path) in enumerate(calls) if path == mark)
            print(json.dumps({"place": place.path, "calls": calls[first + 1 : last]}))
        else:
            pid = os.fork()
            if not pid:
                os._exit(body())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps({"place": place.path}))
    finally:
        laboratory.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
