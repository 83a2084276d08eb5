"""The ledger: attempts and answers that outlast the process, and the tables made of them."""
