"""What a reply means: its words, codes and times read into one verdict.

Start at `classify`: from a reply to a verdict. An answer is judged in `answers`. An error's body is read in
`error_body`, its times in `rate_headers`, and the parameters it names in `added_parameters`. A new code is a row in
`codes`. A new wording is a line in `phrases_accounts` or `phrases_requests`; what a group of wordings means is a row in
`wordings`. What a refusal means for one request, by what that request demanded, is in `narrowed`.
"""
