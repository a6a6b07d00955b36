"""Law: a small training loop with fixed seeds ends with the same weights, to the last bit."""

import kit

STEPS = 50


def model_of(torch):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 16, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)).to("cuda")


def train(torch, model, steps):
    """Returns the losses; the batches are the same in every run, from pinned memory."""
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()
    losses = []
    for _ in range(steps):
        images = torch.randn(64, 3, 16, 16, generator=generator).pin_memory().to("cuda", non_blocking=True)
        labels = torch.randint(0, 10, (64,), generator=generator).pin_memory().to("cuda", non_blocking=True)
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def main():
    torch = kit.torch()
    model = model_of(torch)
    losses = kit.timed("training", lambda: train(torch, model, STEPS))
    kit.result("losses", losses)
    for name, weights in model.named_parameters():
        kit.result(name, weights)
    if not losses[-1].isfinite():
        raise SystemExit("the loss is not finite")


if __name__ == "__main__":
    main()
