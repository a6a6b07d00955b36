"""Law: eight processes compute at the same time, and each is right: in one guest, or in eight guests.

usage: at_once.py GUESTS"""

import sys

import others

PROCESSES = 8
ROUNDS = "20"


def main():
    guests = int(sys.argv[1])
    processes = [others.start(number % guests, "programs/compute", ROUNDS, str(1000 * number)) for number in range(PROCESSES)]
    for number, process in enumerate(processes):
        print(f"process {number}: {others.finish(process, f'process {number}').strip()}")


if __name__ == "__main__":
    main()
