"""We put known interactions into tables, and make tables without any: how many are found, and how many false alarms."""
