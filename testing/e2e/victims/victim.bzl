"""victim: a program that is one law, and the test that runs it as a guest of a private broker."""

def victim(name):
    """Builds <name>.cc and runs it in <name>_test.

    Args:
      name: the program; its first comment states the law.
    """
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        linkopts = ["-lpthread"],
        deps = [":rm"],
    )
    native.sh_test(
        name = name + "_test",
        size = "medium",
        srcs = ["//testing/e2e:run_victim.sh"],
        args = ["$(location :%s)" % name],
        data = [
            ":" + name,
            "//testing/e2e:guest",
        ],
        # nosan: the shim cannot be built with a sanitizer's runtime. no-sandbox: a mount namespace is made.
        tags = [
            "no-sandbox",
            "nosan",
        ],
    )
