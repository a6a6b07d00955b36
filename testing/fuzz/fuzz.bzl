"""A fuzz target: NAME_fuzz for libFuzzer, NAME_fuzz_test for any compiler.

    bazel run --config=fuzz //testing/fuzz:NAME_fuzz -- -max_total_time=600 DIRECTORY

The test repeats the inputs of corpus/NAME, and makes `runs` more of them."""

def fuzz_target(name, deps, runs):
    lib = name + "_fuzz_lib"
    native.cc_library(
        name = lib,
        testonly = True,
        srcs = [name + "_fuzz.cc"],
        deps = deps,
        alwayslink = True,
    )
    native.cc_binary(
        name = name + "_fuzz",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],  # brings the main function
        tags = ["manual"],
        deps = [lib],
    )
    native.filegroup(
        name = name + "_corpus",
        testonly = True,
        srcs = native.glob(["corpus/" + name + "/*"]),
    )
    native.cc_test(
        name = name + "_fuzz_test",
        size = "small",
        srcs = ["random_main.cc"],
        args = [
            "--runs=%d" % runs,
            "$(locations :%s_corpus)" % name,
        ],
        data = [name + "_corpus"],
        deps = [lib],
    )
