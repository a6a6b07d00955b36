"""Law: a kernel that faults in one guest is that guest's own trouble: another guest computes on and is right, all the while."""

import others


def main():
    if not others.KERNELS_RUN:
        others.not_applicable("kernels do not run here")
    neighbour = others.start(1, "programs/compute", "until-told")
    others.read_line(neighbour, "computing", "the neighbour")
    for _ in range(3):
        print(others.run(0, "programs/fault"), end="")
    print(others.finish(neighbour, "the neighbour"), end="")
    print("the neighbour is unhurt")


if __name__ == "__main__":
    main()
