"""Many runs: feeding, concurrency, stop rules, stored answers, results. Without pandas."""
