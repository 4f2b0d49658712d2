"""Asks a service of this container whether it is ready: the health check of the images, which have no curl.

    python -m stenoflow.runtime.probe STENOFLOW_ACOUSTIC_HEALTH_PORT [/healthz]

Only the standard library: it runs every few seconds beside the service.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException

ANSWER_S = 2.5
"""Less than the timeout of the images' HEALTHCHECK, so that the sentence below is what stands in its log."""


def main(arguments: Sequence[str]) -> int:
    """Prints the answer; returns 0 for HTTP 200 and 1 for all else, and where nothing answers.

    Args:
        arguments: the variable that holds the service's port, and the path (``/readyz`` where none is given).
    """
    variable, path = arguments[0], arguments[1] if len(arguments) > 1 else "/readyz"
    port = os.environ.get(variable, "")
    if not port.isdigit():
        print(f"{variable} is {port!r}: set it to the service's port")
        return 1
    connection = HTTPConnection("127.0.0.1", int(port), timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        print(answer.status, answer.read().decode(errors="replace").strip())
    except (OSError, HTTPException) as error:
        print(f"port {port} does not answer ({error})")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
