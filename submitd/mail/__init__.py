"""The vocabulary of mail: values without behaviour that every layer shares."""
