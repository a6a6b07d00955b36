"""Law: PyTorch multiplies matrices to the same bits natively and through the broker, in four types of number."""

import kit


def main():
    torch = kit.torch()
    print(torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0))
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(2048, 2048, generator=generator, dtype=torch.float64) for _ in range(2))
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        one, other = left.to("cuda", kind), right.to("cuda", kind)
        kit.result(f"{kind} product", one @ other)
        kit.result(f"{kind} row sums", (one @ other).sum(dim=1))
        torch.cuda.synchronize()
    one, other = left.to("cuda", torch.float32), right.to("cuda", torch.float32)

    def many():
        for _ in range(100):
            one @ other  # pylint: disable=pointless-statement
        torch.cuda.synchronize()

    many()
    kit.timed("100-products", many)


if __name__ == "__main__":
    main()
