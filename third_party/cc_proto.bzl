"""cc_proto: C++ classes of one .proto, made by the system's protoc."""

def cc_proto(name, src, deps = [], **kwargs):
    """A cc_library of the generated classes; include them by the .proto's workspace path.

    Args:
      name: the library.
      src: the .proto, in this package.
      deps: other cc_proto libraries whose .proto this one imports.
      **kwargs: passed on to the cc_library.
    """
    stem = native.package_name() + "/" + src[:-len(".proto")]
    out = name + "_gen/" + stem
    native.genrule(
        name = name + "_protoc",
        srcs = [src],
        outs = [out + ".pb.h", out + ".pb.cc"],
        cmd = "/usr/bin/protoc --cpp_out=$(RULEDIR)/%s_gen -I. $(location %s)" % (name, src),
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [out + ".pb.cc"],
        hdrs = [out + ".pb.h"],
        copts = ["-w"],
        strip_include_prefix = name + "_gen",
        deps = deps + ["//third_party:protobuf"],
        **kwargs
    )
