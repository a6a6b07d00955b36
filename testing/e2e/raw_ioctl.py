#!/usr/bin/python3
"""Not a law but a program for nvshim_run.py: makes one ioctl on a device file that it was given, past the C library and
through it, and prints the two errors by name, "0" for success.

usage: raw_ioctl.py FD REQUEST, of which REQUEST fills the whole register."""

import ctypes
import errno
import sys

SYS_IOCTL = 16

libc = ctypes.CDLL(None, use_errno=True)


def error_of(call, *arguments):
    return errno.errorcode[ctypes.get_errno()] if call(*arguments) == -1 else "0"


def main():
    fd, request, nothing = ctypes.c_long(int(sys.argv[1])), ctypes.c_ulong(int(sys.argv[2], 0)), ctypes.c_ulong(0)
    print(error_of(libc.syscall, ctypes.c_long(SYS_IOCTL), fd, request, nothing))
    print(error_of(libc.ioctl, fd, request, nothing))


if __name__ == "__main__":
    main()
