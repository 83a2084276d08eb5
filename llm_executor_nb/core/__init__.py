"""What a run is made of: records, outcomes, holds, the rules of a chain.

Standard library only: no network, no pandas, no IPython.
"""
