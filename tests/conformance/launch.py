"""Becomes an agent, with the process state that a case asks for.

Called as `launch.py OPTIONS COMMAND…`, OPTIONS being a JSON object: `ignore` and `block` (signal
numbers), `drop_override` (root without the right to pass over file modes), `drop_set_ids` (root
that may not become anybody else), `harmless` (root that can neither set the clock nor feed the
kernel's generator), `drop_chown` (root that may not give files away), `fail_sync` (`fsync` fails
with EIO), `file_bytes` (the longest file it may write), `files` (what stands in place of which file,
in a mount namespace of its own), `descriptor_limits` (how many it may have open, soft and hard),
`processes` (how many its users may have; root may have more), `descriptors` ([from, to] pairs), `closed`
(numbers), `kernel_5_3` (no call that Linux 5.3 has not), `listen_pid` (say
LISTEN_PID as systemd does).
An own program rather than a hook between fork and exec: there, in a threaded test runner, Python may hang.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 2, 24, 38
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID = 0, 1, 2, 6, 7
CAP_SYS_ADMIN, CAP_SYS_TIME = 21, 25
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


# `clone3`: the last system call of Linux 5.3. From 424 on numbers are the same on all architectures.
LAST_CALL = 435
JUMP_IF_EQUAL, JUMP_IF_GREATER = 0x15, 0x25
FSYNC = {"x86_64": 74, "aarch64": 82}


def refuse_calls(comparison, number, error):
    """Has the kernel answer calls whose number compares so with `error`."""
    program = b"".join(
        struct.pack("HBBI", *each)
        for each in [
            (0x20, 0, 0, 0),  # load the call's number
            (comparison, 0, 1, number),  # it is so: the next, else the one after it
            (0x06, 0, 0, 0x0005_0000 | error),  # fail
            (0x06, 0, 0, 0x7FFF_0000),  # allow
        ]
    )
    filters = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(filters)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) != 0:
        sys.exit(f"launch.py: cannot set a filter of system calls: errno {ctypes.get_errno()}")


def replace_files(files):
    """Has this process, and what it starts, see other files at those paths."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [lambda: libc.unshare(CLONE_NEWNS), lambda: libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)]
    for path, other in files.items():
        steps.append(lambda path=path, other=other: libc.mount(other.encode(), path.encode(), None, MS_BIND, None))
    for step in steps:
        if step() != 0:
            sys.exit(f"launch.py: cannot replace files: errno {ctypes.get_errno()}")


def main():
    options = json.loads(sys.argv[1])
    # Python ignores the first two itself, a shell the next two in what it runs in the background, nohup the last.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in options.get("ignore", []):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, options.get("block", []))
    if "files" in options:
        replace_files(options["files"])
    if "file_bytes" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"], options["file_bytes"]))
    if "descriptor_limits" in options:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(options["descriptor_limits"]))
    if "processes" in options:
        resource.setrlimit(resource.RLIMIT_NPROC, (options["processes"], options["processes"]))
    for number, wanted in options.get("descriptors", []):
        os.dup2(number, wanted, inheritable=True)
    for number in options.get("closed", []):
        os.close(number)
    if options.get("listen_pid"):
        os.environ["LISTEN_PID"] = str(os.getpid())
    dropped = []
    if options.get("drop_override"):
        dropped += [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH]
    if options.get("drop_set_ids"):
        dropped += [CAP_SETGID, CAP_SETUID]
    if options.get("harmless"):
        dropped += [CAP_SYS_ADMIN, CAP_SYS_TIME]
    if options.get("drop_chown"):
        dropped.append(CAP_CHOWN)
    if os.getuid() == 0:
        for capability in dropped:
            if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                sys.exit(f"launch.py: cannot drop capability {capability}: errno {ctypes.get_errno()}")
    if options.get("fail_sync"):
        refuse_calls(JUMP_IF_EQUAL, FSYNC[os.uname().machine], errno.EIO)
    if options.get("kernel_5_3"):
        refuse_calls(JUMP_IF_GREATER, LAST_CALL, errno.ENOSYS)
    os.execvp(sys.argv[2], sys.argv[2:])


main()
