"""Guests that take things of the driver's one by one, as a test says. To be used with guests.py."""

import guests

NO_MEMORY, INSUFFICIENT_RESOURCES = "0x51", "0x1a"


class Taker(guests.Guest):
    """A process of taker.py."""

    def __init__(self, socket=guests.SOCKET):
        super().__init__("env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={socket}", "python3", "-B",
                         "testing/e2e/taker.py")

    def ask(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.read_line()

    def take(self, command, answer="ok"):
        said = self.ask(command)
        if said != answer:
            guests.fail(f"'{command}' is answered '{said}', '{answer}' is right: {guests.stats()}")
