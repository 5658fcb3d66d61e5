"""What is known of each rule's fix from validated runs."""
