"""A model of transformers, made from a configuration, and their Trainer."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

set_seed(0)
config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
texts = torch.randint(50, (128, 8))
rows = [{"input_ids": text, "labels": int(text[0] < 25)} for text in texts]
arguments = TrainingArguments(
    "checkpoints", num_train_epochs=3, per_device_train_batch_size=16, report_to=[], use_cpu=True, save_strategy="no",
    disable_tqdm=True,
)  # fmt: skip
Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows).train()
