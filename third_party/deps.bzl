"""Where every dependency comes from: Debian's packages, found through pkg-config.

Nothing is downloaded. Project targets name only //third_party:<dep>; a source build of one dependency is a
change of that one target.
"""

def _static(option):
    """-labsl_x -> the archive by name: product binaries carry their libraries with them."""
    return "-l:lib" + option[2:] + ".a" if option.startswith("-labsl") else option

def _pkg_config_impl(ctx):
    for name, module in ctx.attr.modules.items():
        result = ctx.execute(["pkg-config", "--libs", module])
        if result.return_code != 0:
            fail("pkg-config does not know '%s': run testing/setup to install what is missing" % module)
        ctx.file(name + "/BUILD.bazel", """
cc_library(
    name = "{base}",
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
)
""".format(base = name.split("/")[-1], linkopts = repr([_static(option) for option in result.stdout.strip().split(" ")])))
    ctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % ctx.name)

pkg_config = repository_rule(
    implementation = _pkg_config_impl,
    attrs = {"modules": attr.string_dict()},
    doc = "One cc_library of linkopts per pkg-config module; headers are in the compiler's default path.",
)

def declare_deps():
    """Declares the system libraries and the three repositories that Bazel 4 asks for by name."""
    for name in ["rules_cc", "rules_java", "remote_coverage_tools"]:
        native.local_repository(name = name, path = "third_party/compat/" + name)
    pkg_config(
        name = "system",
        modules = {
            "absl/flat_hash_map": "absl_flat_hash_map",
            "absl/flat_hash_set": "absl_flat_hash_set",
            "absl/status": "absl_status",
            "absl/statusor": "absl_statusor",
            "absl/strings": "absl_strings",
            "absl/str_format": "absl_str_format",
        },
    )
