"""deb: a Debian package, made by dpkg-deb and nothing else of Debian's packaging tools."""

load("//:version.bzl", "VERSION")

_ARCHITECTURE = "amd64"

def _deb_impl(ctx):
    output = ctx.actions.declare_file("%s_%s_%s.deb" % (ctx.attr.package, VERSION, _ARCHITECTURE))
    arguments = ctx.actions.args()
    arguments.add("--output", output)
    arguments.add("--version", VERSION)
    arguments.add("--changelog", ctx.file.changelog)
    arguments.add("--copyright", ctx.file.copyright)
    inputs = [ctx.file.changelog, ctx.file.copyright] + ctx.files.control
    for file in ctx.files.control:
        arguments.add("--control", file)
    for target, path in ctx.attr.contents.items():
        files = target.files.to_list()
        if len(files) != 1 and not path.endswith("/"):
            fail("%s is several files: the path '%s' of a folder ends in /" % (target.label, path))
        for file in files:
            destination = path + file.basename if path.endswith("/") else path
            arguments.add("--file", "%s=%s" % (destination, file.path))
            inputs.append(file)
    for link, target in ctx.attr.links.items():
        arguments.add("--link", "%s=%s" % (link, target))
    arguments.add_all(ctx.attr.linked, before_each = "--linked")
    ctx.actions.run(
        executable = ctx.file._build_deb,
        arguments = [arguments],
        inputs = inputs,
        outputs = [output],
        mnemonic = "Deb",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([output]))]

deb = rule(
    implementation = _deb_impl,
    doc = "PACKAGE_VERSION_amd64.deb, the same bytes from the same inputs.",
    attrs = {
        "package": attr.string(mandatory = True),
        "control": attr.label_list(
            allow_files = True,
            mandatory = True,
            doc = "The files of the package's DEBIAN folder: control and maintainer scripts.",
        ),
        "contents": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "What is installed, and where: a path without the first slash; of a folder when it ends in one.",
        ),
        "links": attr.string_dict(doc = "Symbolic links and what they point to."),
        "linked": attr.string_list(doc = "Debian packages whose code is linked into the programs: their licences go along."),
        "changelog": attr.label(allow_single_file = True, mandatory = True),
        "copyright": attr.label(allow_single_file = True, mandatory = True),
        "_build_deb": attr.label(default = "//packaging:build_deb.py", allow_single_file = True),
    },
)
