"""The kinds of end-to-end tests: each brings up a private broker and puts guests on it."""

# nosan: the shim cannot be built with a sanitizer's runtime. no-sandbox: a mount namespace is made, uids are changed.
E2E_TAGS = [
    "no-sandbox",
    "nosan",
]

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
        tags = E2E_TAGS,
    )

def death_test(name):
    """Runs <name>.py, which ends guests, workers or supervisors, under a private broker.

    Args:
      name: the test; its first comment states the law.
    """
    native.sh_test(
        name = name,
        size = "medium",
        srcs = ["run_death_test.sh"],
        args = ["$(location :%s.py)" % name],
        data = [
            "guests.py",
            "supervisors.py",
            "taker.py",
            "takers.py",
            name + ".py",
            ":guest",
            "//testing/e2e/victims:caller",
        ],
        tags = E2E_TAGS,
    )

def clients_test(gpu, product, memory_mib, driver_version = None):
    """Runs NVIDIA's own libraries on one simulated GPU.

    Args:
      gpu: as --sim-gpu names it.
      product: the name that nvidia-smi prints.
      memory_mib: the total memory that nvidia-smi prints.
      driver_version: of the libraries and of the simulated driver, when it is not the usual one.
    """
    branch = "_" + driver_version.split(".")[0] if driver_version else ""
    native.sh_test(
        name = "clients_%s%s_test" % (gpu, branch),
        size = "large",  # a hundred processes with a context each
        srcs = ["clients_test.sh"],
        args = [
            gpu,
            "'%s'" % product,
            str(memory_mib),
        ] + ([driver_version] if driver_version else []),
        data = [
            "nvidia_clients.sh",
            "client_suite.py",
            "guests.py",
            ":guest",
            "//testing/clients:programs",
        ],
        # external: the libraries lie outside of the build, and a skipped run must not be remembered.
        tags = E2E_TAGS + [
            "external",
            "requires-network",
        ],
    )
