"""Becomes an agent, with the process state that a case asks for.

Called as `launch.py OPTIONS COMMAND…`, OPTIONS being a JSON object: `ignore` and `block` (signal
numbers), `drop_override` (root without the right to pass over file modes), `file_bytes` (the longest
file it may write), `descriptors` ([from, to] pairs), `listen_pid` (say LISTEN_PID as systemd does).
An own program rather than a hook between fork and exec: there, in a threaded test runner, Python may hang.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def main():
    options = json.loads(sys.argv[1])
    # Python ignores the first two itself, a shell the next two in what it runs in the background, nohup the last.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in options.get("ignore", []):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, options.get("block", []))
    if "file_bytes" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"], options["file_bytes"]))
    for number, wanted in options.get("descriptors", []):
        os.dup2(number, wanted, inheritable=True)
    if options.get("listen_pid"):
        os.environ["LISTEN_PID"] = str(os.getpid())
    if options.get("drop_override") and os.getuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                sys.exit(f"launch.py: cannot drop capability {capability}: errno {ctypes.get_errno()}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
