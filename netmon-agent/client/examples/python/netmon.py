#!/usr/bin/env python3
"""netmon from Python, with nothing but the standard library: HTTP/1.1 and JSON over the agent's Unix socket.

    import netmon
    if netmon.wait("usable", stable="5s", timeout="10m")["satisfied"]: upload()

or as a command: `netmon.py status`, `netmon.py wait [STATE [TIMEOUT]]`, `netmon.py events`. Exit codes are those of
`netmon wait`: 0 it is so, 75 not by the deadline, 69 no agent, 2 usage.
"""

import http.client
import json
import os
import socket
import sys
import urllib.parse

SOCKET = os.environ.get("NETMON_SOCKET") or "/run/netmon/netmon.sock"


class Connection(http.client.HTTPConnection):
    """A connection to the agent. It serves one request after another."""

    def __init__(self, path=SOCKET):
        super().__init__("netmon")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path, good=(200,)):
    """The answer to `GET path`. Raises OSError where no agent answers or it has no room, else ValueError in its words."""
    connection = Connection()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        answer = json.load(response)
    finally:
        connection.close()
    if response.status == 503:
        raise ConnectionError(answer["error"])
    if response.status not in good:
        raise ValueError(answer["error"])
    return answer


def status():
    """The whole state: `state`, `reasons`, `devices`, `targets` …"""
    return ask("/v1/status")


def wait(state="usable", **more):
    """Waits until the network is so: `satisfied` is false, and `blocking` says why, when it is not by the deadline.

    more: stable="5s", timeout="10m", device="eth0", target="vcenter". Without a time-out a wait has no end.
    """
    return ask("/v1/wait?" + urllib.parse.urlencode({"state": state, **more}), good=(200, 409))


def events(last=None):
    """Changes as they come: `kind`, `subject`, `state`, `reasons`, `seq` … of each.

    The first ones are what is so now; or, with the `seq` of a change that was seen, all that came after it. There is no
    end to them: ConnectionError where the agent has no room, and when it goes.
    """
    connection = Connection()
    try:
        connection.request("GET", "/v1/events", headers={} if last is None else {"Last-Event-ID": str(last)})
        response = connection.getresponse()
        if response.status != 200:
            raise ConnectionError(json.load(response)["error"])
        for line in response:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])
    finally:
        connection.close()
    raise ConnectionError("the agent closed the stream")


def main(command="status", *arguments):
    if command == "status":
        now = status()
        print(now["state"], *(reason["detail"] for reason in now["reasons"]), sep="\n  ")
    elif command == "wait" and len(arguments) <= 2:
        waited = wait(*arguments[:1], **({"timeout": arguments[1]} if arguments[1:] else {}))
        if not waited["satisfied"]:
            print(waited["state"], *(reason["detail"] for reason in waited["blocking"]), sep="\n  ", file=sys.stderr)
            return os.EX_TEMPFAIL
    elif command == "events":
        for change in events():
            print(change["seq"], change["subject"], change["state"], flush=True)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, ValueError) as error:
        print(f"netmon: {SOCKET}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else os.EX_UNAVAILABLE)
