"""Law: torch.compile builds kernels with Triton, and they give the same bits natively and through the broker; they agree
with the ones that PyTorch brings, within rounding."""

import shutil

import kit


def main():
    torch = kit.torch()
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        kit.not_applicable("torch.compile needs a C compiler")
    try:
        import triton  # noqa: F401 pylint: disable=import-outside-toplevel,unused-import
    except ImportError:
        kit.not_applicable("torch.compile needs Triton")

    def formula(values, weights):
        return torch.nn.functional.gelu(values @ weights).softmax(dim=-1).cumsum(dim=0)

    generator = torch.Generator().manual_seed(3)
    values, weights = (torch.randn(512, 512, generator=generator).to("cuda") for _ in range(2))
    plain = formula(values, weights)
    compiled_formula = torch.compile(formula)
    compiled = kit.timed("compilation", lambda: compiled_formula(values, weights))
    kit.result("as it is", plain)
    kit.result("compiled", compiled)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
    print("both agree")


if __name__ == "__main__":
    main()
