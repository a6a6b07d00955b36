"""Programs that use NVIDIA's libraries."""

def client_programs(names, scripts):
    """Builds each of `names` from <name>.c, and bundles all programs as `programs`.

    Args:
      names: the programs; the first comment of each states its law.
      scripts: programs that need no building.
    """
    for name in names:
        native.cc_binary(
            name = name,
            testonly = True,
            srcs = [name + ".c"],
            linkopts = [
                "-Wl,--as-needed",  # no library of C++: the programs are carried to other machines
                "-lpthread",
            ],
            deps = [
                ":cuda",
                ":pair",
            ],
        )
    native.filegroup(
        name = "programs",
        testonly = True,
        srcs = names + scripts,
    )
