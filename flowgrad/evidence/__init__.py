"""Evidence of validated runs for each rule's fix: the ledger of trials, and the confidence that follows."""
