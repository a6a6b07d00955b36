"""Programs that use NVIDIA's libcuda."""

def client_programs(names):
    """Builds each of `names` from <name>.c, and bundles all of them as `programs`.

    Args:
      names: the programs; the first comment of each states its law.
    """
    for name in names:
        native.cc_binary(
            name = name,
            testonly = True,
            srcs = [name + ".c"],
            linkopts = ["-lpthread"],
            deps = [":cuda"],
        )
    native.filegroup(
        name = "programs",
        testonly = True,
        srcs = names,
    )
