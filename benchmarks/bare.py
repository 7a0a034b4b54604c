"""The bare Flower example that ours is held against: FedAvg of a LoRA adapter.

As Flower's own examples do it: a ClientApp that loads the model, takes the adapter in,
trains and sends it back, a ServerApp with Flower's `FedAvg`; nothing of fedelta in it.
`benchmarks/overheads.py` bundles and runs it.
"""

import json
import time
from pathlib import Path
from typing import Any

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


def model(folder: str, labels: int, rank: int) -> Any:
    """The encoder with a head and an adapter."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    body = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["query", "value"])
    return get_peft_model(body, lora)


@client.train()
def train(message: Message, context: Context) -> Message:
    """One round of a client."""
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoTokenizer

    given = context.run_config
    folder, labels = str(given["model"]), json.loads(str(given["labels"]))
    torch.set_num_threads(1)
    network = model(folder, len(labels), int(given["rank"]))
    sent = message.content.array_records["arrays"].to_torch_state_dict()
    set_peft_model_state_dict(network, sent)
    text = Path(str(context.node_config["data"])).read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trained = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=float(given["rate"]))
    batch = int(given["batch"])
    began = time.monotonic()
    for step in range(int(given["steps"])):
        part = [rows[(step * batch + at) % len(rows)] for at in range(batch)]
        read = tokenizer(
            [one["text"] for one in part],
            max_length=int(given["length"]),
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        wanted = torch.tensor([labels.index(one["label"]) for one in part])
        network(**read, labels=wanted).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    took = time.monotonic() - began
    arrays = ArrayRecord(get_peft_model_state_dict(network))
    told = MetricRecord({"num-examples": len(rows), "seconds": took})
    content = RecordDict({"arrays": arrays, "metrics": told})
    return Message(content, reply_to=message)


class Timed(FedAvg):
    """Flower's own, which also writes down when each round began and ended."""

    began = 0.0
    out = Path()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Any:
        """As it is."""
        self.began = time.monotonic()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        """As it is, and a line."""
        found = list(replies)
        seconds = [
            float(one.content.metric_records["metrics"]["seconds"]) for one in found
        ]
        merged = super().aggregate_train(server_round, found)
        line = {"round": time.monotonic() - self.began, "training": max(seconds)}
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return merged


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    from peft import get_peft_model_state_dict

    given = context.run_config
    labels = json.loads(str(given["labels"]))
    network = model(str(given["model"]), len(labels), int(given["rank"]))
    strategy = Timed(fraction_evaluate=0.0)
    strategy.out = Path(str(given["out"]))
    arrays = ArrayRecord(get_peft_model_state_dict(network))
    strategy.start(grid, arrays, num_rounds=int(given["rounds"]))
