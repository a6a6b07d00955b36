"""Programs that are carried to machines where nothing is installed for them."""

# Only libc is needed where such a program runs: all else is linked in. With linkstatic.
STANDALONE_LINKOPTS = [
    "-Wl,--as-needed",
    "-Wl,--gc-sections",
    "-l:libstdc++.a",
    "-static-libgcc",
    "-fuse-ld=lld",
]
