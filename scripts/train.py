"""Trains a small GPT-2 that reads and writes single characters, on a text of your own.

    python scripts/train.py --text book.txt --out models/book

The first 90 % of the text train, the last 10 % tell how good the model has become. The result is
a directory in Hugging Face's layout, with binary16 weights: everything that this project reads,
and `transformers` reads it too. Needs PyTorch: `pip install dfx_rtl[train]`.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np

from dfx_rtl.gpt2.writer import write_character_tokenizer, write_config, write_weights

__all__ = ["main"]


def build_model(torch, *, emb, layers, heads, vocabulary, positions):
    """GPT-2 as a torch module whose parameters have the checkpoint's names and shapes."""
    nn, functional = torch.nn, torch.nn.functional

    class Product(nn.Module):
        """x W + b, with W stored inputs first, as GPT-2's checkpoints have it."""

        def __init__(self, inputs, outputs, deviation):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(inputs, outputs) * deviation)
            self.bias = nn.Parameter(torch.zeros(outputs))

        def forward(self, x):
            flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
            return flat.view(*x.shape[:-1], -1)

    # The products that end a residual branch start smaller, as GPT-2's did.
    inside, ending = 0.5 / math.sqrt(emb), 0.5 / math.sqrt(emb * 2 * layers)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(emb), nn.LayerNorm(emb)
            self.attn, self.mlp = nn.Module(), nn.Module()
            self.attn.c_attn = Product(emb, 3 * emb, inside)
            self.attn.c_proj = Product(emb, emb, ending)
            self.mlp.c_fc = Product(emb, 4 * emb, inside)
            self.mlp.c_proj = Product(4 * emb, emb, ending / 2)

        def forward(self, x):
            batch, length, _ = x.shape
            query, key, value = (
                part.view(batch, length, heads, emb // heads).transpose(1, 2)
                for part in self.attn.c_attn(self.ln_1(x)).split(emb, dim=2)
            )
            context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.attn.c_proj(context.transpose(1, 2).reshape(batch, length, emb))
            hidden = functional.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh")
            return x + self.mlp.c_proj(hidden)

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocabulary, emb), nn.Embedding(positions, emb)
            self.h = nn.ModuleList(Block() for _ in range(layers))
            self.ln_f = nn.LayerNorm(emb)
            nn.init.normal_(self.wte.weight, std=0.1)
            nn.init.normal_(self.wpe.weight, std=0.05)

        def forward(self, ids):
            x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
            for block in self.h:
                x = block(x)
            return self.ln_f(x) @ self.wte.weight.T

    return Gpt2()


def batches(torch, text, positions, batch, generator):
    """Endless random windows of the text, each with the characters that follow."""
    steps = torch.arange(positions + 1)
    while True:
        starts = torch.randint(len(text) - positions, (batch, 1), generator=generator)
        windows = text[starts + steps]
        yield windows[:, :-1], windows[:, 1:]


def mean_loss(torch, model, text, positions):
    """Nats a character over the whole text, window beside window."""
    count = (len(text) - 1) // positions
    inputs = text[: count * positions].view(count, positions)
    targets = text[1 : count * positions + 1].view(count, positions)
    total = 0.0
    with torch.no_grad():
        for begin in range(0, count, 64):
            logits = model(inputs[begin : begin + 64])
            expected = targets[begin : begin + 64]
            total += torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), expected.flatten(), reduction="sum"
            ).item()
    return total / targets.numel()


def greedy(torch, model, ids, count, positions):
    """The ``count`` likeliest characters after ``ids``, as far as the positions reach."""
    ids = list(ids)
    with torch.no_grad():
        for _ in range(min(count, positions - len(ids))):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids


def train(torch, arguments, model, text):
    """AdamW with a warm start and a cosine end; then the weights are rounded to binary16."""
    train_text, valid_text = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    generator = torch.Generator().manual_seed(arguments.seed)
    source = batches(torch, train_text, arguments.positions, arguments.batch, generator)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=arguments.rate, betas=(0.9, 0.99),
    )
    warm = max(1, min(200, arguments.steps // 10))
    begin = time.monotonic()
    for step in range(arguments.steps):
        progress = step / arguments.steps
        rate = arguments.rate * min((step + 1) / warm, 0.01 + 0.495 * (1 + math.cos(
            math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = next(source)
        loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 1000 == 999:
            valid = mean_loss(torch, model, valid_text, arguments.positions)
            seconds = time.monotonic() - begin
            print(f"step {step + 1}: loss {loss.item():.3f}, validation {valid:.4f}, "
                  f"{seconds:.0f} s", flush=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return mean_loss(torch, model, valid_text, arguments.positions)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="the text to learn from, UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write")
    parser.add_argument("--emb", type=int, default=32, help="width of the residual")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--positions", type=int, default=64, help="longest text, in characters")
    parser.add_argument("--steps", type=int, default=10_000, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=64, help="windows in each step")
    parser.add_argument("--rate", type=float, default=4e-3, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--prompt", default="ROMEO:\n", help="start of the sample at the end")
    result = parser.parse_args(arguments)
    if result.emb % result.heads:
        parser.error(f"--emb must be a multiple of --heads, not {result.emb} and {result.heads}")
    return result


def main(arguments=None):
    arguments = parse(arguments)
    try:
        import torch
    except ImportError:
        sys.exit("training needs PyTorch: pip install dfx_rtl[train]")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    try:
        content = arguments.text.read_bytes()
    except OSError as problem:
        sys.exit(f"{arguments.text}: cannot be read: {problem.strerror}")
    symbols = bytes(sorted(set(content)))
    if len(content) < 20 * arguments.positions:
        sys.exit(f"{arguments.text}: {len(content)} bytes are too few to learn from, at least "
                 f"{20 * arguments.positions} are needed")
    token = np.zeros(256, np.int64)
    token[list(symbols)] = np.arange(len(symbols))
    text = torch.from_numpy(token[np.frombuffer(content, np.uint8)])

    shape = {"emb": arguments.emb, "layers": arguments.layers, "heads": arguments.heads,
             "vocabulary": len(symbols), "positions": arguments.positions}
    model = build_model(torch, **shape)
    print(f"{shape}, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    valid = train(torch, arguments, model, text)

    arguments.out.mkdir(parents=True, exist_ok=True)
    write_config(arguments.out, **shape)
    write_weights(arguments.out / "model.safetensors", {
        f"transformer.{name}": value.detach().numpy() for name, value in model.named_parameters()
    })
    write_character_tokenizer(arguments.out, symbols)
    print(f"validation loss with binary16 weights: {valid:.4f} nats a character")
    prompt = arguments.prompt.encode()
    if prompt and set(prompt) <= set(symbols):
        ids = greedy(torch, model, token[list(prompt)], 48, arguments.positions)
        print(bytes(symbols[i] for i in ids).decode(errors="replace"))


if __name__ == "__main__":
    main()
