"""The version of the project: what the programs print, and what the packages are called."""

VERSION = "0.1.0"
