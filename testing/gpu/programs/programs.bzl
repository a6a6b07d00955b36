"""Programs of the kit for a machine with a GPU."""

def kit_programs(names):
    """Builds each of `names` from <name>.c, and bundles them as `programs`.

    Args:
      names: the programs; the first comment of each states its law.
    """
    for name in names:
        native.cc_binary(
            name = name,
            testonly = True,
            srcs = [name + ".c"],
            linkopts = [
                "-Wl,--as-needed",
                "-lpthread",
            ],
            deps = [":kit"],
        )
    native.filegroup(
        name = "programs",
        testonly = True,
        srcs = names,
    )
